// SPDX-License-Identifier: Apache-2.0
#include "train/grpo_metrics.h"

#include <gtest/gtest.h>

#include <limits>

namespace graft::train {
namespace {

rollout::Rollouts make_rollouts(const std::vector<std::pair<std::size_t, bool>>& lengths) {
  rollout::Rollouts rollouts;
  for (const auto& [length, finished] : lengths) {
    rollout::Completion completion;
    completion.ids.assign(length, 1);
    completion.is_finished = finished;
    rollouts.completions.push_back(completion);
  }
  return rollouts;
}

TEST(IncludedCompletions, LeaveOutTruncatedOnesOnlyWhenAsked) {
  const rollout::Rollouts rollouts = make_rollouts({{3, true}, {8, false}});
  EXPECT_EQ(included_completions(rollouts, false), (std::vector<bool>{true, true}));
  EXPECT_EQ(included_completions(rollouts, true), (std::vector<bool>{true, false}));
}

Experience experience_of(const std::vector<std::size_t>& lengths, const std::vector<double>& rewards) {
  Experience experience;
  for (const std::size_t length : lengths) {
    experience.rollouts.completions.emplace_back().ids.assign(length, 1);
  }
  experience.advantages.rewards = rewards;
  return experience;
}

TEST(RewardLengthCorrelation, IsPearsonsOverTheCompletionsWithAScore) {
  constexpr double kNoScore = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NEAR(reward_length_correlation(experience_of({2, 4, 6}, {0.1, 0.2, 0.3})), 1.0, 1e-12);
  EXPECT_NEAR(reward_length_correlation(experience_of({2, 4, 6, 9}, {0.3, 0.2, 0.1, kNoScore})), -1.0, 1e-12);
  EXPECT_NEAR(reward_length_correlation(experience_of({1, 2, 3, 4}, {1.0, 3.0, 2.0, 5.0})),
              0.8315218406202999, 1e-12);
  EXPECT_TRUE(reward_length_correlation(experience_of({2, 4}, {0.5, 0.5})).is_null());
  EXPECT_TRUE(reward_length_correlation(experience_of({3, 3}, {0.5, 0.7})).is_null());
  EXPECT_TRUE(reward_length_correlation(experience_of({3}, {kNoScore})).is_null());
}

UpdateResult result_of_four_tokens() {
  UpdateResult result;
  result.loss = 0.5;
  result.entropy_sum = 6.0;
  result.kl_sum = 8.0;
  result.tokens = 4;
  result.clipped.low = 1.0;
  result.clipped.high = 2.0;
  result.clipped.units = 4.0;
  result.clipped.low_shares = {0.5, 0.25};
  result.clipped.high_shares = {0.0, 1.0};
  return result;
}

TEST(UpdateMetrics, AreMeansOverTokensAndKlIsLeftOutWithoutAReference) {
  config::ObjectiveConfig objective;
  nlohmann::ordered_json metrics = update_metrics(result_of_four_tokens(), objective);
  EXPECT_EQ(metrics["loss"], 0.5);
  EXPECT_EQ(metrics["entropy"], 1.5);
  EXPECT_EQ(metrics["clip_ratio/low_mean"], 0.25);
  EXPECT_EQ(metrics["clip_ratio/low_min"], 0.25);
  EXPECT_EQ(metrics["clip_ratio/high_mean"], 0.5);
  EXPECT_EQ(metrics["clip_ratio/high_max"], 1.0);
  EXPECT_EQ(metrics["clip_ratio/region_mean"], 0.75);
  EXPECT_FALSE(metrics.contains("kl"));
  objective.beta = 0.1;
  metrics = update_metrics(result_of_four_tokens(), objective);
  EXPECT_EQ(metrics["kl"], 2.0);
}

TEST(UpdateMetrics, OfCispoHaveItsOwnClipRatio) {
  config::ObjectiveConfig objective;
  objective.loss_type = "cispo";
  const nlohmann::ordered_json metrics = update_metrics(result_of_four_tokens(), objective);
  EXPECT_EQ(metrics["cispo_clip_ratio"], 0.5);
  EXPECT_FALSE(metrics.contains("clip_ratio/low_mean"));
}

}  // namespace
}  // namespace graft::train
