// SPDX-License-Identifier: Apache-2.0
#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "support/error.h"
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

using Row = nlohmann::ordered_json;

TEST(MetricsWindow, AveragesTheStepsThatHaveAValueAndTakesTheLastOfWhatStandsForAMoment) {
  MetricsWindow window;
  EXPECT_TRUE(window.empty());
  window.add({{"step", 1},
              {"loss", 1.0},
              {"reward", 0.5},
              {"grad_norm", 3.0},
              {"num_tokens", 10},
              {"iou", nullptr}});
  window.add({{"step", 2}, {"loss", 0.5}, {"grad_norm", 2.0}});
  window.add({{"step", 3},
              {"loss", 0.0},
              {"reward", 1.0},
              {"grad_norm", 1.0},
              {"num_tokens", 30},
              {"iou", nullptr}});
  const Row expected = {{"step", 3},        {"loss", 0.5},      {"reward", 0.75},
                        {"grad_norm", 1.0}, {"num_tokens", 30}, {"iou", nullptr}};
  EXPECT_EQ(window.take().dump(), expected.dump());
  EXPECT_TRUE(window.empty());
  EXPECT_EQ(window.take(), Row::object());
}

TEST(MetricsWindow, ValuesThatAreMissingAreLeftOutOfTheMean) {
  MetricsWindow window;
  window.add({{"rewards/iou/mean", nullptr}, {"kl", std::nan("")}});
  window.add({{"rewards/iou/mean", 0.25}, {"kl", std::nan("")}});
  window.add({{"rewards/iou/mean", nullptr}});
  const Row row = window.take();
  EXPECT_EQ(row["rewards/iou/mean"], 0.25);
  EXPECT_TRUE(row["kl"].is_null());
}

TEST(MetricsWindow, OneStepIsItself) {
  const Row row = {{"step", 7}, {"loss", 0.1}, {"completions/min_length", 3.0}, {"learning_rate", 1e-5}};
  MetricsWindow window;
  window.add(row);
  EXPECT_EQ(window.take().dump(), row.dump());
}

TEST(MetricsWindow, GoesThroughACheckpointToTheLastBit) {
  MetricsWindow window, whole;
  for (const double loss : {0.1, 0.7, 1.0 / 3.0}) {
    whole.add({{"loss", loss}, {"iou", nullptr}});
    window.add({{"loss", loss}, {"iou", nullptr}});
    window = MetricsWindow::from_json(Row::parse(window.to_json().dump()));
  }
  EXPECT_EQ(window.take().dump(), whole.take().dump());
  EXPECT_THROW((void)MetricsWindow::from_json({{"loss", 1}}), support::UserError);
  EXPECT_THROW((void)MetricsWindow::from_json(Row::parse("[[1, 2, 3, 4]]")), support::UserError);
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
