// SPDX-License-Identifier: Apache-2.0
#include "train/grpo_metrics.h"

#include <gtest/gtest.h>

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

TEST(UpdateMetrics, AreMeansOverTokensAndKlIsLeftOutWithoutAReference) {
  nlohmann::ordered_json metrics;
  UpdateMetrics update;
  update.loss = 0.5;
  update.entropy_sum = 6.0;
  update.clip_low_sum = 1.0;
  update.clip_high_sum = 2.0;
  update.kl_sum = 8.0;
  update.tokens = 4;
  add_update_metrics(metrics, update);
  EXPECT_EQ(metrics["loss"], 0.5);
  EXPECT_EQ(metrics["entropy"], 1.5);
  EXPECT_EQ(metrics["clip_ratio/low_mean"], 0.25);
  EXPECT_EQ(metrics["clip_ratio/high_mean"], 0.5);
  EXPECT_EQ(metrics["clip_ratio/region_mean"], 0.75);
  EXPECT_FALSE(metrics.contains("kl"));
  update.has_kl = true;
  add_update_metrics(metrics, update);
  EXPECT_EQ(metrics["kl"], 2.0);
}

}  // namespace
}  // namespace graft::train
