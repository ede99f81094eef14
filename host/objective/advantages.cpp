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
constexpr double kZeroStd = 1e-8;    // what counts as no spread at all (torch.isclose with 0)
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

}  // namespace

Advantages compute_advantages(const std::vector<std::vector<double>>& scores,
                              const AdvantageOptions& options) {
  check(scores, options);
  Advantages result;
  for (const auto& item : scores) result.rewards.push_back(weighted_sum(item, options.weights));
  if (scores.empty()) return result;

  const Moments batch = moments(result.rewards);
  const auto group_size = static_cast<std::size_t>(options.num_generations);
  std::size_t without_spread = 0;
  for (std::size_t begin = 0; begin < scores.size(); begin += group_size) {
    const std::span<const double> rewards(result.rewards.data() + begin, group_size);
    const Moments group = moments(rewards);
    const double spread = options.scale_rewards == "batch" ? batch.std : group.std;
    if (spread <= kZeroStd) without_spread += group_size;
    for (const double reward : rewards) {
      double advantage = reward - group.mean;
      if (options.scale_rewards != "none") advantage /= spread + kStdOffset;
      result.advantages.push_back(std::isnan(advantage) ? 0.0 : advantage);
    }
  }
  result.reward_mean = batch.mean;
  result.reward_std = batch.std;
  result.frac_reward_zero_std = static_cast<double>(without_spread) / static_cast<double>(scores.size());
  return result;
}

}  // namespace graft::objective
