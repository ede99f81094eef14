// SPDX-License-Identifier: Apache-2.0
#include "train/run_length.h"

#include <gtest/gtest.h>

#include "support/error.h"

namespace graft::train {
namespace {

TEST(RunLength, EpochsGiveWholeBatchesRoundedUp) {
  EXPECT_EQ(steps_of_epochs(1, 12, 4, 1), 3);
  EXPECT_EQ(steps_of_epochs(1, 13, 4, 1), 4);
  EXPECT_EQ(steps_of_epochs(3, 13, 4, 1), 10);   // 39 samples
  EXPECT_EQ(steps_of_epochs(0.5, 12, 4, 1), 2);  // 6 samples
  EXPECT_EQ(steps_of_epochs(1, 2, 4, 1), 1);
  EXPECT_EQ(steps_of_epochs(1e-9, 2, 4, 1), 1);
}

TEST(RunLength, ARoundMayHaveSeveralSteps) {
  EXPECT_EQ(steps_of_epochs(1, 12, 4, 6), 18);
  EXPECT_EQ(steps_of_epochs(1, 13, 4, 6), 24);
}

TEST(RunLength, RoundingErrorsAddNoStep) {
  EXPECT_EQ(steps_of_epochs(0.1, 30, 1, 1), 3);  // 0.1 · 30 is above 3 in binary
  EXPECT_EQ(steps_of_epochs(0.7, 10, 7, 1), 1);
}

TEST(RunLength, AnEndlessRunIsTheUsersError) {
  EXPECT_THROW((void)steps_of_epochs(1e300, 10, 1, 1), support::UserError);
}

config::LoadedConfig loaded(const std::vector<std::string>& more, config::Command command) {
  std::vector<std::string> args = {"model.path=m", "output_dir=o", "data.train=t", "rewards=iou"};
  if (command == config::kSft) args.pop_back();
  args.insert(args.end(), more.begin(), more.end());
  return config::load_run_config(std::nullopt, args, command);
}

TEST(RunLength, SettlesStepsAndWarmUpAndItsConfigurationLoadsAgain) {
  const auto given =
      loaded({"train.epochs=2", "optimizer.warmup_ratio=0.3", "train.batch_size=4"}, config::kSft);
  const config::LoadedConfig settled = with_run_length(given, 13, config::kSft);
  EXPECT_EQ(settled.config.train.steps, 7);
  EXPECT_EQ(settled.config.optimizer.warmup_steps, 3);  // ceil(2.1)
  EXPECT_EQ(settled.resolved["train"]["steps"], 7);
  EXPECT_EQ(settled.resolved["optimizer"]["warmup_steps"], 3);
  EXPECT_TRUE(settled.resolved["train"]["epochs"].is_null());
  EXPECT_TRUE(settled.resolved["optimizer"]["warmup_ratio"].is_null());
}

TEST(RunLength, ARolloutOfGrpoServesSeveralSteps) {
  const auto given = loaded({"train.epochs=1", "train.prompts_per_step=2", "train.num_mini_batches=2",
                             "objective.num_iterations=3"},
                            config::kTrain);
  EXPECT_EQ(with_run_length(given, 8, config::kTrain).config.train.steps, 12);
  EXPECT_EQ(with_run_length(given, 9, config::kTrain).config.train.steps, 18);
}

TEST(RunLength, StepsStayWhatTheyAre) {
  const auto given = loaded({"train.steps=5", "optimizer.warmup_ratio=1"}, config::kSft);
  const config::LoadedConfig settled = with_run_length(given, 1000, config::kSft);
  EXPECT_EQ(settled.config.train.steps, 5);
  EXPECT_EQ(settled.config.optimizer.warmup_steps, 5);
}

TEST(RunLength, AWarmUpLongerThanTheEpochsIsTheUsersError) {
  const auto given =
      loaded({"train.epochs=1", "optimizer.warmup_steps=9", "train.batch_size=4"}, config::kSft);
  EXPECT_THROW((void)with_run_length(given, 13, config::kSft), support::UserError);
}

}  // namespace
}  // namespace graft::train
