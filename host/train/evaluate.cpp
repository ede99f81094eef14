// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

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

// Means over the samples that have the score; the share of IoU values that reach the threshold.
nlohmann::ordered_json summarize(const std::vector<nlohmann::ordered_json>& samples,
                                 const rewards::RewardSet& rewards, double iou_threshold) {
  nlohmann::ordered_json summary;
  const auto n = static_cast<double>(std::max<std::size_t>(1, samples.size()));
  summary["samples"] = samples.size();
  for (const std::string& name : rewards.components()) {
    double sum = 0.0, accurate = 0.0, scored = 0.0;
    for (const auto& sample : samples) {
      const auto& value = sample["scores"][name];
      if (value.is_null()) continue;
      scored += 1.0;
      sum += value.get<double>();
      accurate += value.get<double>() >= iou_threshold ? 1.0 : 0.0;
    }
    summary[name] = scored > 0 ? nlohmann::ordered_json(sum / scored) : nlohmann::ordered_json(nullptr);
    if (name == "iou") summary["iou_accuracy"] = scored > 0 ? accurate / scored : 0.0;
    if (scored < n) summary[cat(name, "_unscored")] = n - scored;
  }
  double finished = 0.0;
  for (const auto& sample : samples) finished += sample["finished"].get<bool>() ? 1.0 : 0.0;
  summary["finished"] = finished / n;
  return summary;
}

}  // namespace

Evaluation evaluate(const model::Model& model, const rewards::RewardSet& rewards, const PromptSource& prompts,
                    const config::RunConfig& config) {
  at::NoGradGuard no_grad;
  Evaluation result;
  const std::size_t total = std::min(
      prompts.size(),
      static_cast<std::size_t>(config.eval.samples.value_or(static_cast<std::int64_t>(prompts.size()))));
  rollout::SamplingOptions options = sampling_options(model, config);
  options.num_generations = 1;
  options.temperature = config.eval.temperature;
  const auto batch = static_cast<std::size_t>(config.eval.batch_size);
  for (std::size_t first = 0; first < total; first += batch) {
    std::vector<PromptItem> items;
    std::vector<const model::Prompt*> batch_prompts;
    std::vector<std::uint64_t> keys;
    for (std::size_t i = first; i < std::min(first + batch, total); ++i) {
      items.push_back(prompts.at(i));
      keys.push_back(i);
    }
    for (const PromptItem& item : items) batch_prompts.push_back(&item.prompt);
    const std::vector<at::Tensor> features = encode_prompt_images(model, batch_prompts, {});
    const rollout::Rollouts rollouts = rollout::generate(model, batch_prompts, features, keys, options,
                                                         [] { return support::interrupt_requested(); });
    std::vector<rewards::Item> reward_items;
    for (std::size_t i = 0; i < items.size(); ++i) {
      reward_items.push_back(reward_item(items[i], rollouts.completions[i], first + i));
    }
    const rewards::Scores scores = rewards.score(reward_items, 0);
    for (std::size_t i = 0; i < items.size(); ++i) {
      result.samples.push_back(sample_row(items[i], rollouts.completions[i], scores, i, rewards));
    }
  }
  result.summary = summarize(result.samples, rewards, config.eval.iou_threshold);
  return result;
}

}  // namespace graft::train
