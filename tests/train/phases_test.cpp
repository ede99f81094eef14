// SPDX-License-Identifier: Apache-2.0
#include "train/phases.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace graft::train {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// Touches `bytes` of fresh memory and gives them back.
void use_memory(std::size_t bytes) {
  std::vector<char> block(bytes, 1);
  volatile char last = block.back();
  static_cast<void>(last);
}

TEST(Phases, NamesComeInTheOrderOfTheFirstEntry) {
  Phases phases;
  phases.run("rollout", [] {});
  phases.run("reward", [] {});
  phases.run("rollout", [] {});
  nlohmann::ordered_json metrics;
  phases.add_to(metrics);
  std::vector<std::string> times;
  for (const auto& [name, value] : metrics.items()) {
    if (name.starts_with("time/")) times.push_back(name);
    EXPECT_GE(value.get<double>(), 0.0) << name;
  }
  EXPECT_EQ(times, (std::vector<std::string>{"time/rollout", "time/reward"}));
}

TEST(Phases, GivesBackWhatTheBodyReturns) {
  Phases phases;
  EXPECT_EQ(phases.run("update", [] { return 7; }), 7);
  EXPECT_EQ(phases.seconds("nothing"), 0.0);
}

TEST(Phases, SecondsAddUpOverEntries) {
  Phases phases;
  phases.run("update", [] { use_memory(8 * kMiB); });
  const double once = phases.seconds("update");
  EXPECT_GT(once, 0.0);
  phases.run("update", [] { use_memory(8 * kMiB); });
  EXPECT_GT(phases.seconds("update"), once);
  phases.run("reward", [] {});
  EXPECT_DOUBLE_EQ(phases.total(), phases.seconds("update") + phases.seconds("reward"));
}

TEST(Phases, APhaseThatThrowsIsMeasured) {
  Phases phases;
  EXPECT_THROW(phases.run("rollout",
                          [] {
                            use_memory(kMiB);
                            throw std::runtime_error("stopped");
                          }),
               std::runtime_error);
  EXPECT_GT(phases.seconds("rollout"), 0.0);
}

TEST(Phases, APeakBelongsToItsPhase) {
  if (!reset_peak_memory()) GTEST_SKIP() << "this system has no peak memory by phase";
  Phases phases;
  phases.run("rollout", [] { use_memory(256 * kMiB); });
  phases.run("reward", [] {});
  nlohmann::ordered_json metrics;
  phases.add_to(metrics);
  EXPECT_GT(metrics["memory/rollout_gib"].get<double>(), metrics["memory/reward_gib"].get<double>() + 0.2);
}

TEST(Memory, TheCurrentMemoryIsAtMostItsPeak) {
  const auto current = current_memory(), peak = peak_memory();
  ASSERT_EQ(current.has_value(), peak.has_value());
  if (current) {
    EXPECT_GT(*current, 0);
    EXPECT_LE(*current, *peak + std::int64_t{64} * 1024 * 1024);  // read one after the other
  }
}

}  // namespace
}  // namespace graft::train
