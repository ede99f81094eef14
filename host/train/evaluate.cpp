// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>

#include "rollout/rollout.h"
#include "support/error.h"
#include "support/interrupt.h"
#include "support/strings.h"
#include "train/grpo_metrics.h"
#include "train/update.h"

namespace graft::train {

using support::cat;

namespace {

nlohmann::ordered_json sample_row(const PromptItem& item, const rollout::Completion& completion,
                                  const rewards::Scores& scores, std::size_t row,
                                  const rewards::RewardSet& rewards) {
  nlohmann::ordered_json result;
  result["id"] = item.sample->id;
  result["images"] = nlohmann::ordered_json::array();
  for (const auto& image : item.sample->images) result["images"].push_back(image.string());
  result["question"] = item.sample->question;
  result["solution"] = item.sample->solution;
  result["completion"] = completion.raw_text;
  result["finished"] = completion.is_finished;
  for (std::size_t k = 0; k < rewards.components().size(); ++k) {
    result["scores"][rewards.components()[k]] = rewards::score_json(scores.values[row][k]);
  }
  for (std::size_t r = 0; r < rewards.names().size(); ++r) {
    if (!scores.reasons[row][r].empty()) result["reasons"][rewards.names()[r]] = scores.reasons[row][r];
  }
  for (const model::PreparedImage& image : item.prompt.images) {
    result["image_sizes"].push_back({image.original_width, image.original_height});
    result["processed_sizes"].push_back({image.processed_width, image.processed_height});
  }
  return result;
}

// The mean of what there is of a value, null without any.
class Mean {
 public:
  void add(double value) { sum_ += value, ++count_; }
  [[nodiscard]] double count() const { return count_; }
  [[nodiscard]] nlohmann::ordered_json json() const {
    return count_ > 0 ? nlohmann::ordered_json(sum_ / count_) : nlohmann::ordered_json(nullptr);
  }

 private:
  double sum_ = 0.0, count_ = 0.0;
};

// The weighted sum of the sample's scores, those that are missing left out; nothing if all are.
std::optional<double> weighted_reward(const nlohmann::ordered_json& sample,
                                      const rewards::RewardSet& rewards) {
  std::optional<double> sum;
  for (std::size_t k = 0; k < rewards.components().size(); ++k) {
    const auto& value = sample["scores"][rewards.components()[k]];
    if (!value.is_null()) sum = sum.value_or(0.0) + rewards.weights()[k] * value.get<double>();
  }
  return sum;
}

// Means over the samples that have the score; the share of IoU values that reach the threshold.
nlohmann::ordered_json summarize(const std::vector<nlohmann::ordered_json>& samples, const Mean& length,
                                 const rewards::RewardSet& rewards, double iou_threshold) {
  nlohmann::ordered_json summary;
  summary["samples"] = samples.size();
  Mean reward, finished, clipped;
  for (const auto& sample : samples) {
    if (const auto sum = weighted_reward(sample, rewards)) reward.add(*sum);
    finished.add(sample["finished"].get<bool>() ? 1.0 : 0.0);
    clipped.add(sample["finished"].get<bool>() ? 0.0 : 1.0);
  }
  summary["reward"] = reward.json();
  for (const std::string& name : rewards.components()) {
    Mean score, accurate;
    for (const auto& sample : samples) {
      const auto& value = sample["scores"][name];
      if (value.is_null()) continue;
      score.add(value.get<double>());
      accurate.add(value.get<double>() >= iou_threshold ? 1.0 : 0.0);
    }
    summary[name] = score.json();
    if (name == "iou") summary["iou_accuracy"] = accurate.json();
    const double unscored = static_cast<double>(samples.size()) - score.count();
    if (unscored > 0) summary[cat(name, "_unscored")] = unscored;
  }
  summary["finished"] = finished.json();
  summary["completions/mean_length"] = length.json();
  summary["completions/clipped_ratio"] = clipped.json();
  return summary;
}

}  // namespace

std::vector<std::string> summary_metrics(const rewards::RewardSet& rewards) {
  std::vector<std::string> names = {"reward"};
  for (const std::string& name : rewards.components()) {
    names.push_back(name);
    if (name == "iou") names.emplace_back("iou_accuracy");
  }
  names.insert(names.end(), {"finished", "completions/mean_length", "completions/clipped_ratio"});
  return names;
}

std::size_t evaluated_samples(const PromptSource& prompts, const config::EvalConfig& config) {
  if (!config.samples) return prompts.size();
  return std::min(prompts.size(), static_cast<std::size_t>(*config.samples));
}

Evaluation evaluate(const model::Model& model, const rewards::RewardSet& rewards, const PromptSource& prompts,
                    const config::RunConfig& config) {
  at::NoGradGuard no_grad;
  Evaluation result;
  Mean length;
  const std::size_t total = evaluated_samples(prompts, config.eval);
  rollout::SamplingOptions options = sampling_options(model, config);
  options.num_generations = 1;
  options.temperature = config.eval.temperature;
  const auto batch = static_cast<std::size_t>(config.eval.batch_size);
  for (std::size_t first = 0; first < total; first += batch) {
    std::vector<PromptItem> items;
    std::vector<const model::Prompt*> batch_prompts;
    std::vector<std::uint64_t> keys;
    for (std::size_t i = first; i < std::min(first + batch, total); ++i) {
      std::optional<PromptItem> item = prompts.usable(i);
      if (!item) continue;
      items.push_back(std::move(*item));
      keys.push_back(i);
    }
    if (items.empty()) continue;
    for (const PromptItem& item : items) batch_prompts.push_back(&item.prompt);
    const std::vector<at::Tensor> features = encode_prompt_images(model, batch_prompts, {});
    const rollout::Rollouts rollouts = rollout::generate(model, batch_prompts, features, keys, options,
                                                         [] { return support::interrupt_requested(); });
    std::vector<rewards::Item> reward_items;
    for (std::size_t i = 0; i < items.size(); ++i) {
      reward_items.push_back(reward_item(items[i], rollouts.completions[i], items[i].index));
      length.add(static_cast<double>(rollouts.completions[i].ids.size()));
    }
    const rewards::Scores scores = rewards.score(reward_items, 0);
    for (std::size_t i = 0; i < items.size(); ++i) {
      result.samples.push_back(sample_row(items[i], rollouts.completions[i], scores, i, rewards));
    }
  }
  result.summary = summarize(result.samples, length, rewards, config.eval.iou_threshold);
  return result;
}

}  // namespace graft::train
