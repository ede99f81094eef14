// SPDX-License-Identifier: Apache-2.0
#include "objective/advantages.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "support/error.h"
#include "support/strings.h"

namespace graft::objective {

namespace {

constexpr double kStdOffset = 1e-4;  // TRL adds it to the standard deviation before dividing
constexpr double kNoScore = std::numeric_limits<double>::quiet_NaN();

// Weighted sum of the components that have a score; NaN if none has.
double weighted_sum(const std::vector<double>& scores, const std::vector<double>& weights) {
  double sum = 0.0;
  bool is_scored = false;
  for (std::size_t k = 0; k < scores.size(); ++k) {
    if (std::isnan(scores[k])) continue;
    sum += weights[k] * scores[k];
    is_scored = true;
  }
  return is_scored ? sum : kNoScore;
}

struct Moments {
  double mean = kNoScore;  // NaN without any score
  double std = kNoScore;   // n - 1; NaN with fewer than two scores
};

// NaN-aware. Sums run over differences from the first score, so the mean of equal scores is exactly that
// score and their deviations exactly 0.
Moments moments(std::span<const double> rewards) {
  const auto first = std::find_if(rewards.begin(), rewards.end(), [](double r) { return !std::isnan(r); });
  Moments result;
  if (first == rewards.end()) return result;
  double shift = 0.0, squares = 0.0, count = 0.0;
  for (const double reward : rewards) {
    if (std::isnan(reward)) continue;
    shift += reward - *first;
    count += 1.0;
  }
  result.mean = *first + shift / count;
  if (count < 2.0) return result;
  for (const double reward : rewards) {
    if (!std::isnan(reward)) squares += (reward - result.mean) * (reward - result.mean);
  }
  result.std = std::sqrt(squares / (count - 1.0));
  return result;
}

void check(const std::vector<std::vector<double>>& scores, const AdvantageOptions& options) {
  const auto& scale = options.scale_rewards;
  if (scale != "group" && scale != "batch" && scale != "none") {
    throw support::UserError(
        support::cat("scale_rewards is \"", scale, "\"; expected \"group\", \"batch\" or \"none\""));
  }
  const auto& aggregation = options.aggregation;
  if (aggregation != "sum_then_normalize" && aggregation != "normalize_then_sum") {
    throw support::UserError(support::cat("multi_objective_aggregation is \"", aggregation,
                                          "\"; expected \"sum_then_normalize\" or \"normalize_then_sum\""));
  }
  if (options.num_generations < 1 || scores.size() % static_cast<std::size_t>(options.num_generations) != 0) {
    throw support::UserError(support::cat(scores.size(), " completions are no whole number of groups of ",
                                          options.num_generations, " (num_generations)"));
  }
  for (const auto& item : scores) {
    if (item.size() != options.weights.size()) {
      throw support::UserError(support::cat("there are ", options.weights.size(), " reward weights for ",
                                            item.size(),
                                            " reward components; expected one each (reward_weights)"));
    }
  }
}

enum class Scale { kGroup, kBatch, kNone };

// (r - mean) / (std + 1e-4) within each group of `size`, or r - mean without scaling; NaN stays NaN.
std::vector<double> centred(const std::vector<double>& rewards, std::size_t size, Scale scale,
                            double batch_std) {
  std::vector<double> result;
  result.reserve(rewards.size());
  for (std::size_t begin = 0; begin < rewards.size(); begin += size) {
    const std::span<const double> group(rewards.data() + begin, size);
    const Moments of_group = moments(group);
    for (const double reward : group) {
      double value = reward - of_group.mean;
      if (scale != Scale::kNone) value /= (scale == Scale::kBatch ? batch_std : of_group.std) + kStdOffset;
      result.push_back(value);
    }
  }
  return result;
}

// Each component normalised within its group, summed with the weights, and the sums normalised within the batch.
std::vector<double> normalized_sums(const std::vector<std::vector<double>>& scores,
                                    const AdvantageOptions& options, std::size_t size) {
  std::vector<std::vector<double>> normalized(scores.size());
  for (std::size_t k = 0; k < options.weights.size(); ++k) {
    std::vector<double> component;
    for (const auto& item : scores) component.push_back(item[k]);
    component = centred(component, size, Scale::kGroup, 0.0);
    for (std::size_t i = 0; i < scores.size(); ++i) normalized[i].push_back(component[i]);
  }
  std::vector<double> sums;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    // An item that is the only one of its group with a score is scored, but says nothing: 0.
    const bool is_scored = !std::isnan(weighted_sum(scores[i], options.weights));
    const double sum = weighted_sum(normalized[i], options.weights);
    sums.push_back(is_scored && std::isnan(sum) ? 0.0 : sum);
  }
  return sums;
}

}  // namespace

Advantages compute_advantages(const std::vector<std::vector<double>>& scores,
                              const AdvantageOptions& options) {
  check(scores, options);
  Advantages result;
  for (const auto& item : scores) result.rewards.push_back(weighted_sum(item, options.weights));
  if (scores.empty()) return result;

  const Moments batch = moments(result.rewards);
  result.reward_mean = batch.mean;
  result.reward_std = batch.std;
  const auto size = static_cast<std::size_t>(options.num_generations);
  for (std::size_t begin = 0; begin < scores.size(); begin += size) {
    result.group_stds.push_back(moments(std::span(result.rewards).subspan(begin, size)).std);
  }
  double zero_share = 0.0;
  if (options.aggregation == "normalize_then_sum") {
    const std::vector<double> sums = normalized_sums(scores, options, size);
    result.advantages = centred(sums, sums.size(), Scale::kGroup, 0.0);
    zero_share = moments(sums).std <= kZeroStd ? 1.0 : 0.0;
  } else if (options.scale_rewards == "batch") {
    result.advantages = centred(result.rewards, size, Scale::kBatch, batch.std);
    zero_share = batch.std <= kZeroStd ? 1.0 : 0.0;
  } else {
    const Scale scale = options.scale_rewards == "group" ? Scale::kGroup : Scale::kNone;
    result.advantages = centred(result.rewards, size, scale, 0.0);
    const auto is_zero = [](double std) { return std <= kZeroStd; };
    zero_share =
        static_cast<double>(std::count_if(result.group_stds.begin(), result.group_stds.end(), is_zero)) /
        static_cast<double>(result.group_stds.size());
  }
  for (double& advantage : result.advantages) {
    if (std::isnan(advantage)) advantage = 0.0;
  }
  result.frac_reward_zero_std = zero_share;
  return result;
}

}  // namespace graft::objective
