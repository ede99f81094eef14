// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft::objective {

// How rewards of a group become advantages (GRPO: Shao et al. 2024, arXiv:2402.03300, equation 3 ff.; TRL's definitions).
struct AdvantageOptions {
  std::int64_t num_generations = 2;
  std::string scale_rewards = "group";  // divide by the std of the "group", of the "batch", or not ("none")
  std::vector<double> weights;          // one per reward component
};

struct Advantages {
  std::vector<double> advantages;   // [n]; 0 for items without a score
  std::vector<double> rewards;      // [n] weighted sums; NaN without a score
  double reward_mean = 0.0, reward_std = 0.0;   // reward_std: mean over groups of the group's std (n - 1), as TRL logs it
  double frac_reward_zero_std = 0.0;            // share of groups whose rewards are all alike
};

// scores[i][k]: component k of item i, NaN for "no score" (left out of sums and statistics). Items are ordered group by group.
// A = (r - mean) / (std + 1e-4), std with n - 1.
[[nodiscard]] Advantages compute_advantages(const std::vector<std::vector<double>>& scores,
                                            const AdvantageOptions& options);

}  // namespace graft::objective
