// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.h"

#include <gtest/gtest.h>

#include "support/error.h"

namespace graft::train {
namespace {

TEST(Schedule, ConstantStaysAfterLinearWarmUp) {
  EXPECT_DOUBLE_EQ(learning_rate_at("constant", 1.0, 0, 4, 100), 0.0);
  EXPECT_DOUBLE_EQ(learning_rate_at("constant", 1.0, 1, 4, 100), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at("constant", 1.0, 4, 4, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at("constant", 1.0, 99, 4, 100), 1.0);
}

// Values of transformers.get_scheduler with 10 warm-up steps of 110.
TEST(Schedule, LinearAndCosineDecayToZeroOverTheStepsAfterWarmUp) {
  EXPECT_DOUBLE_EQ(learning_rate_at("linear", 2.0, 10, 10, 110), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at("linear", 2.0, 60, 10, 110), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at("linear", 2.0, 110, 10, 110), 0.0);
  EXPECT_DOUBLE_EQ(learning_rate_at("cosine", 2.0, 10, 10, 110), 2.0);
  EXPECT_NEAR(learning_rate_at("cosine", 2.0, 60, 10, 110), 1.0, 1e-12);
  EXPECT_NEAR(learning_rate_at("cosine", 2.0, 35, 10, 110), 1.7071067811865475, 1e-12);
}

TEST(Schedule, AnUnknownNameIsTheUsersError) {
  EXPECT_THROW(static_cast<void>(learning_rate_at("polynomial", 1.0, 5, 0, 10)), support::UserError);
}

}  // namespace
}  // namespace graft::train
