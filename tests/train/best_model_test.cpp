// SPDX-License-Identifier: Apache-2.0
#include "train/best_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/error.h"
#include "tests/support/errors.h"

namespace graft::train {
namespace {

using Row = nlohmann::ordered_json;

config::TrainConfig tracking(const char* metric) {
  config::TrainConfig config;
  config.metric_for_best_model = metric;
  return config;
}

TEST(BestModel, TheLargestValueWinsAndATieStaysWithTheFirst) {
  const BestModelRule rule(tracking("eval_iou"));
  BestModel best;
  EXPECT_TRUE(rule.update(best, 2, {{"eval_iou", 0.5}}));
  EXPECT_FALSE(rule.update(best, 4, {{"eval_iou", 0.5}}));
  EXPECT_FALSE(rule.update(best, 6, {{"eval_iou", 0.4}}));
  EXPECT_EQ(best.step, 2);
  EXPECT_EQ(best.evaluations_without_improvement, 2);
  EXPECT_TRUE(rule.update(best, 8, {{"eval_iou", 0.75}}));
  EXPECT_EQ(best.value, 0.75);
  EXPECT_EQ(best.evaluations_without_improvement, 0);
}

TEST(BestModel, OfALossTheSmallestUnlessTheConfigurationSaysOtherwise) {
  BestModel best;
  const BestModelRule loss(tracking("loss"));
  EXPECT_EQ(loss.metric(), "eval_loss");
  EXPECT_TRUE(loss.update(best, 1, {{"eval_loss", 2.0}}));
  EXPECT_TRUE(loss.update(best, 2, {{"eval_loss", 1.0}}));
  EXPECT_FALSE(loss.update(best, 3, {{"eval_loss", 3.0}}));
  config::TrainConfig config = tracking("eval_loss");
  config.greater_is_better = true;
  EXPECT_TRUE(BestModelRule(config).update(best, 4, {{"eval_loss", 3.0}}));
}

TEST(BestModel, AMetricWithoutAValueIsNoImprovement) {
  const BestModelRule rule(tracking("eval_reward"));
  BestModel best;
  EXPECT_FALSE(rule.update(best, 1, {{"eval_reward", nullptr}}));
  EXPECT_FALSE(rule.update(best, 2, {{"eval_reward", std::nan("")}}));
  EXPECT_FALSE(rule.update(best, 3, Row::object()));
  EXPECT_FALSE(best.value.has_value());
  EXPECT_EQ(best.evaluations_without_improvement, 3);
  EXPECT_TRUE(rule.update(best, 4, {{"eval_reward", -1.0}}));
}

TEST(BestModel, PatienceCountsEvaluationsThatDoNotImproveByMoreThanTheThreshold) {
  config::TrainConfig config = tracking("eval_iou");
  config.early_stopping_patience = 2;
  config.early_stopping_threshold = 0.25;
  const BestModelRule rule(config);
  BestModel best;
  EXPECT_TRUE(rule.update(best, 1, {{"eval_iou", 0.25}}));
  EXPECT_TRUE(rule.update(best, 2, {{"eval_iou", 0.375}}));  // the best, but too small a step
  EXPECT_FALSE(rule.is_exhausted(best));
  EXPECT_EQ(best.evaluations_without_improvement, 1);
  EXPECT_TRUE(rule.update(best, 3, {{"eval_iou", 0.75}}));
  EXPECT_EQ(best.evaluations_without_improvement, 0);
  EXPECT_FALSE(rule.update(best, 4, {{"eval_iou", 0.5}}));
  EXPECT_FALSE(rule.update(best, 5, {{"eval_iou", 0.5}}));
  EXPECT_TRUE(rule.is_exhausted(best));
  EXPECT_EQ(best.step, 3);
}

TEST(BestModel, AnotherMetricStartsAnew) {
  BestModel best{"eval_loss", 0.5, 7, 3};
  EXPECT_TRUE(BestModelRule(tracking("eval_iou")).update(best, 8, {{"eval_iou", 0.1}}));
  EXPECT_EQ(best.metric, "eval_iou");
  EXPECT_EQ(best.step, 8);
}

TEST(BestModel, WithoutAMetricNothingIsKept) {
  const BestModelRule rule{config::TrainConfig()};
  BestModel best;
  EXPECT_FALSE(rule.update(best, 1, {{"eval_iou", 0.5}}));
  EXPECT_FALSE(best.value.has_value());
  EXPECT_FALSE(rule.is_exhausted(best));
  EXPECT_NO_THROW(rule.require_known({}));
}

TEST(BestModel, AnUnknownMetricIsRefusedWithTheNamesThereAre) {
  const std::string message = test::message_of<support::UserError>([] {
    BestModelRule(tracking("eval_iuo")).require_known({"eval_iou", "eval_reward"});
  });
  EXPECT_TRUE(test::contains(message, "\"eval_iuo\", which the evaluation does not give"));
  EXPECT_TRUE(test::contains(message, "eval_iou, eval_reward"));
}

}  // namespace
}  // namespace graft::train
