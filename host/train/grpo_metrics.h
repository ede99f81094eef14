// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "objective/advantages.h"
#include "rewards/rewards.h"
#include "rollout/rollout.h"
#include "train/checkpoint.h"
#include "train/prompt_source.h"

namespace graft::train {

// The completion as its rewards see it; views into the arguments, which must outlive the item.
[[nodiscard]] rewards::Item reward_item(const PromptItem& item, const rollout::Completion& completion,
                                        std::size_t group);

// Which completions enter the loss: all, or those that ended by themselves (DAPO's overlong filter).
[[nodiscard]] std::vector<bool> included_completions(const rollout::Rollouts& rollouts, bool mask_truncated);

// Metrics that are known before the update, under TRL's names: step, num_tokens, completions/*, rewards/NAME/mean and std,
// reward, reward_std, frac_reward_zero_std; and rewards/NAME/unparsable, rewards/NAME/no_score: shares of the completions.
[[nodiscard]] nlohmann::ordered_json step_metrics(const RunState& state, const rollout::Rollouts& rollouts,
                                                  const rewards::Scores& scores,
                                                  const rewards::RewardSet& rewards,
                                                  const objective::Advantages& advantages);

struct UpdateMetrics {
  double loss = 0.0, grad_norm = 0.0, learning_rate = 0.0;
  double kl_sum = 0.0, entropy_sum = 0.0, clip_low_sum = 0.0, clip_high_sum = 0.0;  // over tokens
  std::int64_t tokens = 0;
  bool has_kl = false;
};

// loss, grad_norm, learning_rate, kl (if a reference is used), entropy, clip_ratio/*: of the step's last iteration.
void add_update_metrics(nlohmann::ordered_json& metrics, const UpdateMetrics& update);

// One object a completion: step, prompt, completion, solution, rewards by name (null without a score), advantage.
[[nodiscard]] nlohmann::ordered_json completion_table(const RunState& state,
                                                      const std::vector<PromptItem>& items,
                                                      const rollout::Rollouts& rollouts,
                                                      const rewards::Scores& scores,
                                                      const rewards::RewardSet& rewards,
                                                      const objective::Advantages& advantages);

}  // namespace graft::train
