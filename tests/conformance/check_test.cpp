// SPDX-License-Identifier: Apache-2.0
#include "plugin/check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "plugin/host_services.h"
#include "support/files.h"

namespace graft::plugin {
namespace {

namespace fs = std::filesystem;
using Level = CheckFinding::Level;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kHeapIsWatched = false;  // the sanitizer's allocator takes malloc's place
#else
constexpr bool kHeapIsWatched = true;
#endif

CheckReport check(const std::string& name, const CheckOptions& options = {}) {
  return check_plugin(fs::path(GRAFT_DEFECTIVE) / (name + ".so"), host_table(), options);
}

// ---- plugins of this tree --------------------------------------------------------------------------------------------

class InTreePlugin : public ::testing::TestWithParam<fs::path> {};

TEST_P(InTreePlugin, PassesTheSuite) {
  for (const std::uint64_t seed : {1U, 2U}) {
    CheckOptions options;
    options.seed = seed;
    options.instances = 200;
    const CheckReport report = check_plugin(GetParam(), host_table(), options);
    EXPECT_TRUE(report.passed()) << report.text();
    EXPECT_GE(report.count(Level::kPass), 5U) << report.text();
  }
}

INSTANTIATE_TEST_SUITE_P(Build, InTreePlugin,
                         ::testing::ValuesIn(support::list_files(GRAFT_PLUGIN_DIR, ".so")),
                         [](const auto& instance) { return instance.param.stem().string(); });

// ---- defects ---------------------------------------------------------------------------------------------------------

struct Defect {
  std::string library;
  std::string component;
  std::string check;   // the only one that fails
  std::string detail;  // part of what it says
};

void PrintTo(const Defect& defect, std::ostream* out) {
  *out << defect.component;
}

const CheckReport& report_of(const std::string& library) {
  static std::map<std::string, CheckReport> reports;
  const auto found = reports.find(library);
  return found != reports.end() ? found->second : reports.emplace(library, check(library)).first->second;
}

class DefectivePlugin : public ::testing::TestWithParam<Defect> {};

TEST_P(DefectivePlugin, IsFoundOut) {
  const Defect& defect = GetParam();
  if (defect.check == "create and destroy" && !kHeapIsWatched) GTEST_SKIP() << "leaks are the sanitizer's";
  std::vector<CheckFinding> failures;
  for (const CheckFinding& finding : report_of(defect.library).findings) {
    if (finding.component == defect.component && finding.level == Level::kFail) failures.push_back(finding);
  }
  ASSERT_FALSE(failures.empty()) << report_of(defect.library).text();
  EXPECT_EQ(failures[0].check, defect.check);
  EXPECT_NE(failures[0].detail.find(defect.detail), std::string::npos) << failures[0].detail;
}

INSTANTIATE_TEST_SUITE_P(
    All, DefectivePlugin,
    ::testing::Values(
        Defect{"defects", "reward answers_unknown_ids", "interface ids", "expected null for an unknown id"},
        Defect{"defects", "reward leaks", "create and destroy", "more bytes are in use"},
        Defect{"defects", "reward fails_without_reason", "random parameters", "without a terminated message"},
        Defect{"defects", "reward out_of_range", "scores", "scored 1.5, expected 0 to 1"},
        Defect{"defects", "reward not_finite", "scores", "expected a finite number"},
        Defect{"defects", "reward drifts", "deterministic", "when scored again"},
        Defect{"defects", "reward compares", "independent of company", "alone"},
        Defect{"defects", "reward places", "independent of order", "in another order"},
        Defect{"defects", "reward bad_score_name", "describe", "\"My Score\""},
        Defect{"defects", "reward too_few_values", "scores", "an item has 1 values"},
        Defect{"defects", "reward rounds", "process state", "rounding mode"},
        Defect{"defects", "checkpoint_policy bad_decision", "decisions", "is 9, expected 0 to 2"},
        Defect{"defects", "checkpoint_policy undecided", "decisions", "decides differently"},
        Defect{"defects", "checkpoint_policy too_many_decisions", "decisions", "1 decisions for 0 segments"},
        Defect{"strategies", "peft empty_size", "sites", "scale.sizes[0] is 0"},
        Defect{"strategies", "peft same_name", "sites", "has the name of another one"},
        Defect{"strategies", "peft forgets_alpha", "adapter_config", "but after importing it"}),
    [](const auto& instance) {
      return instance.param.component.substr(instance.param.component.find(' ') + 1);
    });

TEST(Check, ADeclaredPropertyIsNoDefect) {
  for (const CheckFinding& finding : report_of("defects").findings) {
    if (finding.component == "reward ranks_honestly") {
      EXPECT_EQ(finding.level, Level::kPass) << finding.check << ": " << finding.detail;
    }
  }
}

TEST(Check, ACrashIsAFindingThatNamesTheStep) {
  const CheckReport report = check("crashes");
  ASSERT_FALSE(report.passed());
  const CheckFinding& last = report.findings.back();
  EXPECT_EQ(last.component, "reward crashes");
  EXPECT_EQ(last.check, "scores");
  EXPECT_NE(last.detail.find("crashed (signal 6"), std::string::npos) << last.detail;
  EXPECT_NE(last.detail.find("cannot handle this text"), std::string::npos) << last.detail;
  EXPECT_GE(report.count(Level::kPass), 5U) << "what was found before the crash is kept";
}

TEST(Check, AHangIsAFindingToo) {
  CheckOptions options;
  options.limit = std::chrono::seconds(5);
  options.instances = 10;
  const CheckReport report = check("hangs", options);
  ASSERT_FALSE(report.passed());
  EXPECT_EQ(report.findings.back().check, "scores");
  EXPECT_NE(report.findings.back().detail.find("did not come back in time"), std::string::npos);
}

TEST(Check, AFileThatIsNoPluginIsAFinding) {
  const CheckReport missing = check_plugin("no/such/file.so", host_table());
  ASSERT_EQ(missing.findings.size(), 1U);
  EXPECT_EQ(missing.findings[0].check, "load");
  EXPECT_FALSE(missing.passed());
}

TEST(Check, TheReportNamesTheSeedAndIsReadByProgramsToo) {
  CheckOptions options;
  options.seed = 77;
  options.instances = 10;
  const CheckReport report = check("defects", options);
  const std::string text = report.text();
  EXPECT_NE(text.find("FAIL  scores: "), std::string::npos) << text;
  EXPECT_NE(text.find("(seed 77)"), std::string::npos) << text;
  const nlohmann::json json = report.json();
  EXPECT_EQ(json.at("seed"), 77);
  EXPECT_EQ(json.at("passed"), false);
  EXPECT_EQ(json.at("findings").size(), report.findings.size());
}

}  // namespace
}  // namespace graft::plugin
