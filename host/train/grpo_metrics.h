// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/run_config.h"
#include "rewards/rewards.h"
#include "rollout/rollout.h"
#include "train/checkpoint.h"
#include "train/experience.h"
#include "train/policy_update.h"
#include "train/prompt_source.h"

namespace graft::train {

// The completion as its rewards see it; views into the arguments, which must outlive the item.
[[nodiscard]] rewards::Item reward_item(const PromptItem& item, const rollout::Completion& completion,
                                        std::size_t group);

// Which completions enter the loss: all, or those that ended by themselves (DAPO's overlong filter).
[[nodiscard]] std::vector<bool> included_completions(const rollout::Rollouts& rollouts, bool mask_truncated);

// Pearson's correlation of reward and length in tokens over the completions that have a score; null if either does not vary.
[[nodiscard]] nlohmann::ordered_json reward_length_correlation(const Experience& experience);

// Metrics of a rollout, under TRL's names: num_tokens, completions/*, rewards/NAME/mean and std, reward, reward_std,
// frac_reward_zero_std; and graft's own: rewards/NAME/unparsable and no_score (shares of the completions),
// frac_reward_zero_std_low and _high: which side of the middle of the rewards' range (of the mean reward if the range is not
// finite) the groups without spread are on (all failed, or all solved?); reward_length_correlation, null without variance.
[[nodiscard]] nlohmann::ordered_json rollout_metrics(const Experience& experience,
                                                     const rewards::RewardSet& rewards,
                                                     const RunState& state);

// Metrics of one optimizer step, under TRL's names: loss, kl (with a reference), entropy, clip_ratio/* or cispo_clip_ratio.
// Means run over the tokens of the step that are not masked; clip ratios over completions where there is one ratio a
// completion. TRL averages the means of micro-batches instead, which is the same with one micro-batch.
[[nodiscard]] nlohmann::ordered_json update_metrics(const UpdateResult& result,
                                                    const config::ObjectiveConfig& objective);

// One object a completion: step, id, prompt, completion, solution, finished, image sizes, rewards by name (null without a score), advantage;
// graft doctor rewards reads them.
[[nodiscard]] nlohmann::ordered_json completion_table(const Experience& experience,
                                                      const rewards::RewardSet& rewards, std::int64_t step);

}  // namespace graft::train
