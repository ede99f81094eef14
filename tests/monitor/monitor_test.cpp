// SPDX-License-Identifier: Apache-2.0
// Each rule on a synthetic run that breaks it, and the same run when healthy.
#include "monitor/monitor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "monitor/rules.h"
#include "support/error.h"
#include "support/files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::monitor {
namespace {

using Row = nlohmann::ordered_json;

// A run that learns: what a step logs.
Row healthy_row(std::int64_t step) {
  const double progress = static_cast<double>(step) / 120.0;
  const double jitter = 0.01 * static_cast<double>(step % 5);
  return {{"step", step},
          {"loss", step % 2 == 0 ? 2e-3 : -1e-3},
          {"kl", 0.01 + 0.02 * progress},
          {"entropy", 0.5 - 0.2 * progress},
          {"clip_ratio/region_mean", 0.02},
          {"grad_norm", 0.3 + jitter},
          {"completions/mean_length", 40.0 + 10.0 * progress},
          {"completions/clipped_ratio", 0.05},
          {"rewards/iou/mean", 0.3 + 0.4 * progress + jitter},
          {"rewards/iou/std", 0.3},
          {"rewards/iou/unparsable", 0.1},
          {"rewards/iou/no_score", 0.0},
          {"reward", 0.3 + 0.4 * progress + jitter},
          {"reward_std", 0.3},
          {"frac_reward_zero_std", 0.2},
          {"frac_reward_zero_std_low", 0.1},
          {"frac_reward_zero_std_high", 0.1},
          {"reward_length_correlation", 0.1},
          {"adapter/relative_change_mean", 1e-3 * (progress + 0.01)},
          {"adapter/still_layers", 0}};
}

RunFacts lora_facts(double learning_rate = 1e-5) {
  RunFacts facts;
  facts.learning_rate = learning_rate;
  facts.strategy = "lora";
  facts.is_adapter = true;
  facts.max_completion_length = 64;
  return facts;
}

using Change = std::function<void(std::int64_t step, Row& row)>;

std::vector<Finding> watch(const Change& change, const config::MonitorConfig& config = {},
                           std::int64_t steps = 120, const RunFacts& facts = lora_facts()) {
  Monitor monitor(config, facts);
  std::vector<Finding> findings;
  for (std::int64_t step = 1; step <= steps; ++step) {
    Row row = healthy_row(step);
    change(step, row);
    for (Finding& finding : monitor.observe(row)) findings.push_back(std::move(finding));
  }
  return findings;
}

std::vector<Finding> of_rule(const std::vector<Finding>& findings, const std::string& rule) {
  std::vector<Finding> found;
  for (const Finding& finding : findings) {
    if (finding.rule == rule) found.push_back(finding);
  }
  return found;
}

struct Case {
  const char* rule;
  Change change;
  std::int64_t step;  // at which it is said
  const char* says;   // part of the message
};

Change set(const char* name, Row value) {
  return [name, value](std::int64_t, Row& row) { row[name] = value; };
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"constant_reward",
       [](std::int64_t, Row& row) { row["rewards/iou/mean"] = row["rewards/iou/std"] = 0.0; }, 20,
       "none earns it"},
      {"unparsable", set("rewards/iou/unparsable", 0.9), 10, "could not read 90 %"},
      {"no_score", set("rewards/iou/no_score", 0.3), 10, "no score to 30 %"},
      {"zero_variance",
       [](std::int64_t, Row& row) { row["frac_reward_zero_std"] = row["frac_reward_zero_std_low"] = 0.9; },
       10, "nearly all of them fail"},
      {"zero_variance",
       [](std::int64_t, Row& row) { row["frac_reward_zero_std"] = row["frac_reward_zero_std_high"] = 0.9; },
       10, "too easy"},
      {"flat_reward",
       [](std::int64_t step, Row& row) { row["reward"] = 0.3 + 0.01 * static_cast<double>(step % 7); }, 100,
       "has not risen"},
      {"length_explosion",
       [](std::int64_t step, Row& row) { row["completions/mean_length"] = 40.0 + static_cast<double>(step); },
       56, "grown from"},
      {"truncation", set("completions/clipped_ratio", 0.7), 10, "max_completion_length (64 tokens)"},
      {"reward_follows_length", set("reward_length_correlation", -0.9), 10, "shorter completions"},
      {"not_a_number",
       [](std::int64_t step, Row& row) {
         if (step == 7) row["kl"] = nullptr;
       },
       7, "kl is not a number"},
      {"zero_gradient",
       [](std::int64_t step, Row& row) {
         if (step > 20) row["loss"] = row["grad_norm"] = 0.0, row["frac_reward_zero_std"] = 1.0;
       },
       23, "rewards of each group are all alike"},
      {"zero_gradient", set("grad_norm", 0.0), 3, "although rewards differ"},
      {"zero_loss", set("loss", 1e-9), 1, "which is right"},
      {"still_adapter", set("adapter/relative_change_mean", 1e-9), 1, "hardly moves"},
      {"still_adapter", set("adapter/still_layers", 3), 1, "3 adapted layers have not moved"},
      {"kl_spike",
       [](std::int64_t step, Row& row) {
         if (step == 60) row["kl"] = 2.0;
       },
       60, "jumped to 2"},
      {"entropy_collapse",
       [](std::int64_t step, Row& row) {
         if (step > 50) row["entropy"] = 0.01;
       },
       60, "hardly explores"},
      {"clip_ratio", set("clip_ratio/region_mean", 0.4), 10, "40 % of the tokens"},
  };
  return all;
}

TEST(Monitor, AHealthyRunIsQuiet) {
  for (const Finding& finding : watch([](std::int64_t, Row&) {}))
    ADD_FAILURE() << finding.rule << finding.message;
}

TEST(Monitor, EachRuleSpeaksOnceAtTheStepWhereItsThresholdIsReached) {
  for (const Case& c : cases()) {
    const auto found = of_rule(watch(c.change), c.rule);
    ASSERT_EQ(found.size(), 1U) << c.rule << ": " << c.says;
    EXPECT_EQ(found[0].step, c.step) << c.rule << ": " << c.says;
    EXPECT_NE(found[0].message.find(c.says), std::string::npos) << found[0].message;
  }
}

TEST(Monitor, EachRuleHasACase) {
  for (const Rule& rule : rules()) {
    const bool is_tested = std::any_of(cases().begin(), cases().end(),
                                       [&](const Case& c) { return c.rule == std::string(rule.name); });
    EXPECT_TRUE(is_tested || rule.name == std::string("low_learning_rate")) << rule.name;
    EXPECT_NE(std::string(rule.when), "");
    EXPECT_NE(std::string(rule.source), "");
  }
}

TEST(Monitor, AnIgnoredRuleIsSilent) {
  for (const Case& c : cases()) {
    config::MonitorConfig config;
    config.ignore = {c.rule};
    EXPECT_TRUE(of_rule(watch(c.change, config), c.rule).empty()) << c.rule;
  }
  config::MonitorConfig config;
  config.ignore = {"kl_spikes"};
  EXPECT_TRUE(test::contains(test::message_of<support::UserError>([&] { Monitor(config, {}); }),
                             "did you mean \"kl_spike\""));
}

TEST(Monitor, LoraWantsAHigherLearningRateThanFullFineTuning) {
  const auto speaks = [](const std::string& strategy, double learning_rate) {
    RunFacts facts = lora_facts(learning_rate);
    facts.strategy = strategy;
    facts.is_adapter = strategy != "full" && strategy != "layers";
    return of_rule(watch([](std::int64_t, Row&) {}, {}, 5, facts), "low_learning_rate").size();
  };
  EXPECT_EQ(speaks("lora", 1e-6), 1U);
  EXPECT_EQ(speaks("vera", 1e-6), 1U);
  EXPECT_EQ(speaks("lora", 1e-5), 0U);
  EXPECT_EQ(speaks("full", 1e-6), 0U);
  EXPECT_EQ(speaks("layers", 1e-6), 0U);
}

TEST(Monitor, ARewardThatIsAlwaysEarnedIsANote) {
  const auto found = of_rule(watch([](std::int64_t, Row& row) {
                               row["rewards/format/mean"] = 1.0;
                               row["rewards/format/std"] = 0.0;
                             }),
                             "constant_reward");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].severity, Severity::kNote);
  EXPECT_EQ(found[0].subject, "format");
}

TEST(Monitor, SpeaksAgainOnlyAfterTheRuleWasAwayForAWindow) {
  const auto spikes = [](std::int64_t second) {
    return of_rule(watch([second](std::int64_t step, Row& row) {
                     if (step == 40 || step == second) row["kl"] = 2.0;
                   }),
                   "kl_spike")
        .size();
  };
  EXPECT_EQ(spikes(45), 1U);
  EXPECT_EQ(spikes(80), 2U);
}

TEST(Monitor, ReadsRowsThatAreMeansOfSeveralSteps) {
  Monitor monitor({}, lora_facts());
  std::vector<Finding> findings;
  for (std::int64_t step = 10; step <= 60; step += 10) {
    Row row = healthy_row(step);
    row["frac_reward_zero_std"] = row["frac_reward_zero_std_low"] = 1.0;
    for (const Finding& finding : monitor.observe(row)) findings.push_back(finding);
  }
  EXPECT_EQ(of_rule(findings, "zero_variance").size(), 1U);
}

TEST(Monitor, RowsOfSupervisedFineTuningNeedNoRewards) {
  Monitor monitor({}, lora_facts());
  for (std::int64_t step = 1; step <= 150; ++step) {
    const Row row = {{"step", step}, {"loss", 2.0 / static_cast<double>(step)}, {"grad_norm", 1.0}};
    EXPECT_TRUE(monitor.observe(row).empty()) << step;
  }
}

TEST(ReadRows, ReadsMetricsAndTrainerStates) {
  const test::TemporaryDirectory directory;
  support::write_file_atomic(directory.path() / "metrics.jsonl",
                             "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"lo");
  EXPECT_EQ(read_rows(directory.path()).size(), 1U);
  const auto state = directory.path() / "trainer_state.json";
  support::write_file_atomic(
      state, R"({"log_history":[{"step":5,"reward":0.5},{"step":10,"reward":0.6},{"train_runtime":3}]})");
  EXPECT_EQ(read_rows(state).size(), 2U);
  support::write_file_atomic(directory.path() / "empty.jsonl", "");
  EXPECT_TRUE(test::contains(
      test::message_of<support::UserError>([&] { (void)read_rows(directory.path() / "empty.jsonl"); }),
      "has no metrics"));
  EXPECT_TRUE(test::contains(
      test::message_of<support::UserError>([&] { (void)read_rows(directory.path() / "absent"); }),
      "is not there"));
}

}  // namespace
}  // namespace graft::monitor
