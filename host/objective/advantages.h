// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft::objective {

// How rewards of a group become advantages (GRPO: Shao et al. 2024, arXiv:2402.03300, equation 3 ff.; TRL's
// definitions).
struct AdvantageOptions {
  std::int64_t num_generations = 2;
  std::string scale_rewards = "group";  // divide by the std of the "group", of the "batch", or not ("none")
  std::vector<double> weights;          // one per reward component
  // How several components become one advantage: "sum_then_normalize" (the weighted sum is normalised), or
  // "normalize_then_sum" (each component within its group, then their weighted sum within the batch; GDPO, arXiv:2601.05242;
  // scale_rewards does not apply).
  std::string aggregation = "sum_then_normalize";
};

// Standard deviations are those of a sample (n - 1). The three figures are TRL's metrics reward, reward_std
// and frac_reward_zero_std.
struct Advantages {
  std::vector<double> advantages;  // [n]; 0 for items without a score
  std::vector<double> rewards;     // [n] weighted sums; NaN without a score
  std::vector<double>
      group_stds;            // [n / num_generations] of the weighted sums; NaN with fewer than two scores
  double reward_mean = 0.0;  // over all items that have a score; NaN if none has
  double reward_std = 0.0;   // likewise; NaN with fewer than two
  double frac_reward_zero_std = 0.0;  // share of items whose rewards have no spread: in their group; with
                                      // "batch" or "normalize_then_sum", in the batch
};

// What counts as no spread at all (torch.isclose with 0).
inline constexpr double kZeroStd = 1e-8;

// scores[i][k]: component k of item i, NaN for "no score" (left out of sums and statistics). Items are
// ordered group by group. A = (r - mean) / (std + 1e-4); without "group" or "batch" scaling A = r - mean. An
// item that is the only one of its group with a score has advantage 0. Throws UserError for options that do
// not fit the scores.
[[nodiscard]] Advantages compute_advantages(const std::vector<std::vector<double>>& scores,
                                            const AdvantageOptions& options);

}  // namespace graft::objective
