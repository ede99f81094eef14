// SPDX-License-Identifier: Apache-2.0
#include "objective/advantages.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/error.h"

namespace graft::objective {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

AdvantageOptions options(std::int64_t group, const std::string& scale = "group",
                         std::vector<double> weights = {1.0}) {
  return {group, scale, std::move(weights), "sum_then_normalize"};
}

TEST(Advantages, NormaliseWithinGroups) {
  // Group 1: mean 2, std 1. Group 2: mean 4, std sqrt(12).
  const auto result = compute_advantages({{1.0}, {2.0}, {3.0}, {2.0}, {2.0}, {8.0}}, options(3));
  EXPECT_NEAR(result.advantages[0], -1.0 / 1.0001, 1e-12);
  EXPECT_EQ(result.advantages[1], 0.0);
  EXPECT_NEAR(result.advantages[2], 1.0 / 1.0001, 1e-12);
  EXPECT_NEAR(result.advantages[3], -2.0 / (std::sqrt(12.0) + 1e-4), 1e-12);
  EXPECT_NEAR(result.advantages[5], 4.0 / (std::sqrt(12.0) + 1e-4), 1e-12);
  EXPECT_NEAR(result.reward_mean, 3.0, 1e-12);
  EXPECT_NEAR(result.reward_std, std::sqrt((4.0 + 1.0 + 0.0 + 1.0 + 1.0 + 25.0) / 5.0), 1e-12);
  EXPECT_EQ(result.frac_reward_zero_std, 0.0);
}

TEST(Advantages, ScaleByTheBatchOrNotAtAll) {
  const std::vector<std::vector<double>> scores = {{1.0}, {3.0}, {0.0}, {4.0}};
  const double batch_std = std::sqrt((1.0 + 1.0 + 4.0 + 4.0) / 3.0);
  const auto batch = compute_advantages(scores, options(2, "batch"));
  EXPECT_NEAR(batch.advantages[0], -1.0 / (batch_std + 1e-4), 1e-12);
  EXPECT_NEAR(batch.advantages[3], 2.0 / (batch_std + 1e-4), 1e-12);
  const auto none = compute_advantages(scores, options(2, "none"));
  EXPECT_EQ(none.advantages, (std::vector<double>{-1.0, 1.0, -2.0, 2.0}));
}

TEST(Advantages, WeighComponents) {
  const auto result = compute_advantages({{1.0, 0.5}, {0.0, 1.0}}, options(2, "none", {2.0, 1.0}));
  EXPECT_EQ(result.rewards, (std::vector<double>{2.5, 1.0}));
  EXPECT_EQ(result.advantages, (std::vector<double>{0.75, -0.75}));
}

TEST(Advantages, LeaveOutMissingScores) {
  const auto result = compute_advantages({{1.0, kNone}, {kNone, kNone}, {2.0, 1.0}, {kNone, 0.0}},
                                         options(4, "group", {1.0, 1.0}));
  EXPECT_EQ(result.rewards[0], 1.0);
  EXPECT_TRUE(std::isnan(result.rewards[1]));
  EXPECT_EQ(result.rewards[2], 3.0);
  EXPECT_EQ(result.rewards[3], 0.0);
  const double mean = 4.0 / 3.0;
  const double std = std::sqrt((std::pow(1.0 - mean, 2) + std::pow(3.0 - mean, 2) + mean * mean) / 2.0);
  EXPECT_NEAR(result.advantages[0], (1.0 - mean) / (std + 1e-4), 1e-12);
  EXPECT_EQ(result.advantages[1], 0.0);
  EXPECT_NEAR(result.reward_mean, mean, 1e-12);
  EXPECT_NEAR(result.reward_std, std, 1e-12);
}

TEST(Advantages, AreZeroForTheOnlyScoredItemOfAGroup) {
  const auto result = compute_advantages({{kNone}, {5.0}, {kNone}, {kNone}}, options(2));
  EXPECT_EQ(result.advantages, (std::vector<double>{0.0, 0.0, 0.0, 0.0}));
  EXPECT_EQ(result.reward_mean, 5.0);
  EXPECT_TRUE(std::isnan(result.reward_std));
}

TEST(Advantages, AreExactlyZeroForEqualRewards) {
  for (const double reward : {0.1, 0.7, 1.0 / 3.0, 1e6 + 0.1}) {
    const auto result = compute_advantages({{reward}, {reward}, {reward}, {0.0}, {1.0}, {1.0}}, options(3));
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(result.advantages[i], 0.0) << reward;
    EXPECT_EQ(result.frac_reward_zero_std, 0.5);
  }
}

TEST(Advantages, MayNormalizeEachComponentFirst) {
  AdvantageOptions options{2, "group", {1.0, 2.0}, "normalize_then_sum"};
  const auto result = compute_advantages({{0.0, 5.0}, {1.0, 3.0}, {4.0, kNone}, {2.0, 1.0}}, options);
  // Component 1: ±0.5 / std, std = √0.5 in group 1 and √2 in group 2; component 2 counts double, and is alone in group 2.
  const auto normalized = [](double deviation, double std) { return deviation / (std + 1e-4); };
  const std::vector<double> sums = {normalized(-0.5, std::sqrt(0.5)) + 2.0 * normalized(1.0, std::sqrt(2.0)),
                                    normalized(0.5, std::sqrt(0.5)) + 2.0 * normalized(-1.0, std::sqrt(2.0)),
                                    normalized(1.0, std::sqrt(2.0)), normalized(-1.0, std::sqrt(2.0))};
  const double mean = (sums[0] + sums[1] + sums[2] + sums[3]) / 4.0;
  double squares = 0.0;
  for (const double sum : sums) squares += (sum - mean) * (sum - mean);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(result.advantages[i], (sums[i] - mean) / (std::sqrt(squares / 3.0) + 1e-4), 1e-12) << i;
  }
  EXPECT_NEAR(result.reward_mean, (10.0 + 7.0 + 4.0 + 4.0) / 4.0, 1e-12)
      << "logged rewards are the weighted sums";
  EXPECT_EQ(result.frac_reward_zero_std, 0.0);
}

TEST(Advantages, TellTheSpreadOfEachGroup) {
  const auto result = compute_advantages({{1.0}, {1.0}, {0.0}, {2.0}, {kNone}, {3.0}}, options(2));
  EXPECT_EQ(result.group_stds[0], 0.0);
  EXPECT_NEAR(result.group_stds[1], std::sqrt(2.0), 1e-12);
  EXPECT_TRUE(std::isnan(result.group_stds[2]));
}

TEST(Advantages, RefuseOptionsThatDoNotFit) {
  EXPECT_THROW((void)compute_advantages({{1.0}, {2.0}, {3.0}}, options(2)), support::UserError);
  EXPECT_THROW((void)compute_advantages({{1.0}, {2.0}}, options(2, "sometimes")), support::UserError);
  EXPECT_THROW((void)compute_advantages({{1.0, 2.0}, {2.0, 1.0}}, options(2)), support::UserError);
}

}  // namespace
}  // namespace graft::objective
