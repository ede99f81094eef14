// SPDX-License-Identifier: Apache-2.0
#include "train/grpo_metrics.h"

#include <algorithm>
#include <cmath>

#include "support/strings.h"

namespace graft::train {

using support::cat;

namespace {

struct Moments {
  double mean = 0.0;
  double std = 0.0;  // with n - 1, as TRL logs it
  std::int64_t count = 0;
};

// Of the values that are scores; NaN stands for "no score".
Moments moments(const std::vector<std::vector<double>>& rows, std::size_t column) {
  Moments result;
  double sum = 0.0;
  for (const auto& row : rows) {
    if (std::isnan(row[column])) continue;
    sum += row[column];
    ++result.count;
  }
  if (result.count == 0) return result;
  result.mean = sum / static_cast<double>(result.count);
  double squares = 0.0;
  for (const auto& row : rows) {
    if (!std::isnan(row[column])) squares += (row[column] - result.mean) * (row[column] - result.mean);
  }
  if (result.count > 1) result.std = std::sqrt(squares / static_cast<double>(result.count - 1));
  return result;
}

void add_lengths(nlohmann::ordered_json& metrics, const rollout::Rollouts& rollouts) {
  std::vector<double> all, terminated;
  for (const rollout::Completion& completion : rollouts.completions) {
    const auto length = static_cast<double>(completion.ids.size());
    all.push_back(length);
    if (completion.is_finished) terminated.push_back(length);
  }
  const auto add = [&](const std::string& middle, const std::vector<double>& lengths) {
    double sum = 0.0;
    for (double length : lengths) sum += length;
    const bool empty = lengths.empty();
    metrics["completions/mean" + middle + "_length"] =
        empty ? 0.0 : sum / static_cast<double>(lengths.size());
    metrics["completions/min" + middle + "_length"] =
        empty ? 0.0 : *std::min_element(lengths.begin(), lengths.end());
    metrics["completions/max" + middle + "_length"] =
        empty ? 0.0 : *std::max_element(lengths.begin(), lengths.end());
  };
  add("", all);
  metrics["completions/clipped_ratio"] = 1.0 - static_cast<double>(terminated.size()) /
                                                   static_cast<double>(std::max<std::size_t>(1, all.size()));
  add("_terminated", terminated);
}

double share(const rewards::Scores& scores, std::size_t reward, rewards::Status status) {
  std::size_t count = 0;
  for (const auto& row : scores.statuses) count += row[reward] == status ? 1 : 0;
  return static_cast<double>(count) / static_cast<double>(std::max<std::size_t>(1, scores.statuses.size()));
}

}  // namespace

rewards::Item reward_item(const PromptItem& item, const rollout::Completion& completion, std::size_t group) {
  rewards::Item result;
  result.prompt = item.sample->question;
  result.completion = completion.text;
  result.completion_raw = completion.raw_text;
  result.solution = item.sample->solution;
  result.sample_json = item.sample->record;
  result.token_ids = completion.ids;
  for (const model::PreparedImage& image : item.prompt.images) {
    result.images.push_back(
        {image.original_width, image.original_height, image.processed_width, image.processed_height});
  }
  result.is_finished = completion.is_finished;
  result.group = group;
  return result;
}

std::vector<bool> included_completions(const rollout::Rollouts& rollouts, bool mask_truncated) {
  std::vector<bool> included;
  included.reserve(rollouts.completions.size());
  for (const rollout::Completion& completion : rollouts.completions) {
    included.push_back(!mask_truncated || completion.is_finished);
  }
  return included;
}

nlohmann::ordered_json step_metrics(const RunState& state, const rollout::Rollouts& rollouts,
                                    const rewards::Scores& scores, const rewards::RewardSet& rewards,
                                    const objective::Advantages& advantages) {
  nlohmann::ordered_json metrics;
  metrics["step"] = state.step;
  metrics["num_tokens"] = state.num_tokens;
  add_lengths(metrics, rollouts);
  for (std::size_t k = 0; k < rewards.components().size(); ++k) {
    const Moments score = moments(scores.values, k);
    const std::string& name = rewards.components()[k];
    const bool scored = score.count > 0;
    metrics[cat("rewards/", name, "/mean")] = scored ? nlohmann::ordered_json(score.mean) : nullptr;
    metrics[cat("rewards/", name, "/std")] = scored ? nlohmann::ordered_json(score.std) : nullptr;
  }
  for (std::size_t r = 0; r < rewards.names().size(); ++r) {
    const std::string& name = rewards.names()[r];
    metrics[cat("rewards/", name, "/unparsable")] = share(scores, r, rewards::Status::kUnparsable);
    metrics[cat("rewards/", name, "/no_score")] = share(scores, r, rewards::Status::kNoOpinion) +
                                                  share(scores, r, rewards::Status::kError) +
                                                  share(scores, r, rewards::Status::kTimeout);
  }
  metrics["reward"] = advantages.reward_mean;
  metrics["reward_std"] = advantages.reward_std;
  metrics["frac_reward_zero_std"] = advantages.frac_reward_zero_std;
  metrics["samples_skipped"] = state.samples_skipped;
  return metrics;
}

void add_update_metrics(nlohmann::ordered_json& metrics, const UpdateMetrics& update) {
  const auto tokens = static_cast<double>(std::max<std::int64_t>(1, update.tokens));
  metrics["loss"] = update.loss;
  metrics["grad_norm"] = update.grad_norm;
  metrics["learning_rate"] = update.learning_rate;
  if (update.has_kl) metrics["kl"] = update.kl_sum / tokens;
  metrics["entropy"] = update.entropy_sum / tokens;
  metrics["clip_ratio/low_mean"] = update.clip_low_sum / tokens;
  metrics["clip_ratio/high_mean"] = update.clip_high_sum / tokens;
  metrics["clip_ratio/region_mean"] = (update.clip_low_sum + update.clip_high_sum) / tokens;
}

nlohmann::ordered_json completion_table(const RunState& state, const std::vector<PromptItem>& items,
                                        const rollout::Rollouts& rollouts, const rewards::Scores& scores,
                                        const rewards::RewardSet& rewards,
                                        const objective::Advantages& advantages) {
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < rollouts.completions.size(); ++i) {
    const rollout::Completion& completion = rollouts.completions[i];
    const data::Sample& sample = *items[completion.prompt].sample;
    nlohmann::ordered_json row;
    row["step"] = state.step;
    row["id"] = sample.id;
    row["prompt"] = sample.question;
    row["completion"] = completion.raw_text;
    row["solution"] = sample.solution;
    for (std::size_t k = 0; k < rewards.components().size(); ++k) {
      row["rewards"][rewards.components()[k]] = rewards::score_json(scores.values[i][k]);
    }
    for (std::size_t r = 0; r < rewards.names().size(); ++r) {
      if (!scores.reasons[i][r].empty()) row["reasons"][rewards.names()[r]] = scores.reasons[i][r];
    }
    row["advantage"] = advantages.advantages[i];
    table.push_back(std::move(row));
  }
  return table;
}

}  // namespace graft::train
