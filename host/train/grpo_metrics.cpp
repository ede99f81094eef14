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
  double std = 0.0;  // with n - 1, as TRL logs it; needs two
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

// Groups whose rewards are all the same teach nothing; whether they all failed or all succeeded tells what to change.
void add_zero_variance(nlohmann::ordered_json& metrics, const objective::Advantages& advantages,
                       const std::pair<double, double>& range) {
  const bool is_bounded = std::isfinite(range.first) && std::isfinite(range.second);
  const double middle = is_bounded ? (range.first + range.second) / 2.0 : advantages.reward_mean;
  const std::size_t groups = advantages.group_stds.size();
  double low = 0.0, high = 0.0;
  for (std::size_t g = 0; g < groups; ++g) {
    if (!(advantages.group_stds[g] <= objective::kZeroStd)) continue;
    const std::size_t size = advantages.rewards.size() / groups;
    const auto first = std::find_if(advantages.rewards.begin() + static_cast<std::ptrdiff_t>(g * size),
                                    advantages.rewards.end(), [](double r) { return !std::isnan(r); });
    (*first > middle ? high : low) += 1.0 / static_cast<double>(groups);
  }
  metrics["frac_reward_zero_std"] = advantages.frac_reward_zero_std;
  metrics["frac_reward_zero_std_low"] = low;
  metrics["frac_reward_zero_std_high"] = high;
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

nlohmann::ordered_json reward_length_correlation(const Experience& experience) {
  double n = 0, r = 0, l = 0, rr = 0, ll = 0, rl = 0;
  for (std::size_t i = 0; i < experience.advantages.rewards.size(); ++i) {
    const double reward = experience.advantages.rewards[i];
    if (std::isnan(reward)) continue;
    const auto length = static_cast<double>(experience.rollouts.completions[i].ids.size());
    n += 1, r += reward, l += length, rr += reward * reward, ll += length * length, rl += reward * length;
  }
  const double reward_variance = n * rr - r * r, length_variance = n * ll - l * l;
  if (reward_variance <= 1e-12 * n * rr || length_variance <= 1e-12 * n * ll) return nullptr;
  return (n * rl - r * l) / std::sqrt(reward_variance * length_variance);
}

nlohmann::ordered_json rollout_metrics(const Experience& experience, const rewards::RewardSet& rewards,
                                       const RunState& state) {
  const rewards::Scores& scores = experience.scores;
  nlohmann::ordered_json metrics;
  metrics["num_tokens"] = state.num_tokens;
  add_lengths(metrics, experience.rollouts);
  for (std::size_t k = 0; k < rewards.components().size(); ++k) {
    const Moments score = moments(scores.values, k);
    const std::string& name = rewards.components()[k];
    const bool scored = score.count > 0;
    metrics[cat("rewards/", name, "/mean")] = scored ? nlohmann::ordered_json(score.mean) : nullptr;
    metrics[cat("rewards/", name, "/std")] = score.count > 1 ? nlohmann::ordered_json(score.std) : nullptr;
  }
  for (std::size_t r = 0; r < rewards.names().size(); ++r) {
    const std::string& name = rewards.names()[r];
    metrics[cat("rewards/", name, "/unparsable")] = share(scores, r, rewards::Status::kUnparsable);
    metrics[cat("rewards/", name, "/no_score")] = share(scores, r, rewards::Status::kNoOpinion) +
                                                  share(scores, r, rewards::Status::kError) +
                                                  share(scores, r, rewards::Status::kTimeout);
  }
  metrics["reward"] = experience.advantages.reward_mean;
  metrics["reward_std"] = experience.advantages.reward_std;
  add_zero_variance(metrics, experience.advantages, rewards.range());
  metrics["reward_length_correlation"] = reward_length_correlation(experience);
  return metrics;
}

nlohmann::ordered_json update_metrics(const UpdateResult& result, const config::ObjectiveConfig& objective) {
  const auto tokens = static_cast<double>(std::max<std::int64_t>(1, result.tokens));
  const objective::ClipCounts& clipped = result.clipped;
  const double units = std::max(1.0, clipped.units);
  nlohmann::ordered_json metrics;
  metrics["loss"] = result.loss;
  if (objective.beta != 0) metrics["kl"] = result.kl_sum / tokens;
  metrics["entropy"] = result.entropy_sum / tokens;
  if (objective.loss_type == "cispo") {
    metrics["cispo_clip_ratio"] = clipped.high / units;
    return metrics;
  }
  const auto extreme = [](const std::vector<double>& shares, bool largest) {
    if (shares.empty()) return 0.0;
    return largest ? *std::max_element(shares.begin(), shares.end())
                   : *std::min_element(shares.begin(), shares.end());
  };
  metrics["clip_ratio/low_mean"] = clipped.low / units;
  metrics["clip_ratio/low_min"] = extreme(clipped.low_shares, false);
  metrics["clip_ratio/high_mean"] = clipped.high / units;
  metrics["clip_ratio/high_max"] = extreme(clipped.high_shares, true);
  metrics["clip_ratio/region_mean"] = (clipped.low + clipped.high) / units;
  return metrics;
}

nlohmann::ordered_json completion_table(const Experience& experience, const rewards::RewardSet& rewards,
                                        std::int64_t step) {
  const rewards::Scores& scores = experience.scores;
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < experience.rollouts.completions.size(); ++i) {
    const rollout::Completion& completion = experience.rollouts.completions[i];
    const data::Sample& sample = *experience.items[completion.prompt].sample;
    nlohmann::ordered_json row;
    row["step"] = step;
    row["id"] = sample.id;
    row["prompt"] = sample.question;
    row["completion"] = completion.text;
    row["completion_raw"] = completion.raw_text;
    row["solution"] = sample.solution;
    row["finished"] = completion.is_finished;
    for (const model::PreparedImage& image : experience.items[completion.prompt].prompt.images) {
      row["image_size"].push_back({image.original_width, image.original_height});
      row["processed_size"].push_back({image.processed_width, image.processed_height});
    }
    for (std::size_t k = 0; k < rewards.components().size(); ++k) {
      row["rewards"][rewards.components()[k]] = rewards::score_json(scores.values[i][k]);
    }
    for (std::size_t r = 0; r < rewards.names().size(); ++r) {
      if (!scores.reasons[i][r].empty()) row["reasons"][rewards.names()[r]] = scores.reasons[i][r];
    }
    row["advantage"] = experience.advantages.advantages[i];
    table.push_back(std::move(row));
  }
  return table;
}

}  // namespace graft::train
