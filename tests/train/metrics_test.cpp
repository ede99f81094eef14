// SPDX-License-Identifier: Apache-2.0
#include "train/metrics.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/files.h"

namespace graft::train {
namespace {

class MetricsFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() /
                 ("graft_metrics_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)));
    std::filesystem::create_directories(directory_);
    file_ = directory_ / "metrics.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_, file_;
};

TEST_F(MetricsFileTest, WritesOneLineARowInInsertionOrder) {
  MetricsFile metrics(file_, 0);
  metrics.write({{"step", 1}, {"loss", 0.5}});
  metrics.write({{"step", 2}, {"loss", 0.25}});
  EXPECT_EQ(support::read_file(file_), "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25}\n");
}

TEST_F(MetricsFileTest, AResumedRunDropsTheLinesAfterItsCheckpointAndTheOneThatACrashCut) {
  std::ofstream(file_) << "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st";
  MetricsFile metrics(file_, 2);
  metrics.write({{"step", 3}, {"again", true}});
  EXPECT_EQ(support::read_file(file_), "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"again\":true}\n");
}

TEST_F(MetricsFileTest, AFreshRunStartsAnEmptyFile) {
  std::ofstream(file_) << "{\"step\":1}\n";
  MetricsFile metrics(file_, 0);
  EXPECT_EQ(support::read_file(file_), "");
}

TEST(MeasuredMetrics, AreTheOnesThatDifferBetweenEqualRuns) {
  EXPECT_TRUE(is_measured_metric("step_time"));
  EXPECT_TRUE(is_measured_metric("time/rollout"));
  EXPECT_TRUE(is_measured_metric("speed/tokens_per_second"));
  EXPECT_TRUE(is_measured_metric("memory/rollout_gib"));
  EXPECT_FALSE(is_measured_metric("reward"));
}

}  // namespace
}  // namespace graft::train
