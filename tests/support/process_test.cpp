// SPDX-License-Identifier: Apache-2.0
// Errors, logging, progress and interrupts: what the process shows and how it ends.
#include <gtest/gtest.h>

#include <csignal>

#include "support/error.h"
#include "support/interrupt.h"
#include "support/log.h"
#include "support/progress.h"
#include "tests/support/errors.h"

namespace graft::support {
namespace {

using test::contains;

TEST(Error, CarriesTheExitCode) {
  EXPECT_EQ(UserError("x").exit_code(), 2);
  EXPECT_EQ(PluginError("x").exit_code(), 3);
  EXPECT_EQ(PreflightError("x").exit_code(), 4);
  EXPECT_EQ(DivergedError("x").exit_code(), 5);
  EXPECT_EQ(MemoryError("x").exit_code(), 6);
  EXPECT_EQ(Interrupted("x").exit_code(), 75);
  EXPECT_STREQ(UserError("message").what(), "message");
}

// What `body` writes to stderr.
template <typename Body>
std::string stderr_of(Body&& body) {
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesLevelsAtOrAboveTheSetOne) {
  const LogLevel before = log_level();
  set_log_level(LogLevel::kWarn);
  const std::string text = stderr_of([] {
    log_debug("one");
    log_info("two");
    log_warn("three {} %s");  // no format string
    log_error("four");
  });
  set_log_level(before);
  EXPECT_FALSE(contains(text, "two"));
  EXPECT_TRUE(contains(text, "W three {} %s\n"));
  EXPECT_TRUE(contains(text, "E four\n"));
}

TEST(Log, OnceMeansOncePerKey) {
  const std::string text = stderr_of([] {
    log_once(LogLevel::kError, "process_test.key", "first");
    log_once(LogLevel::kError, "process_test.key", "second");
    log_once(LogLevel::kError, "process_test.other", "third");
  });
  EXPECT_TRUE(contains(text, "first"));
  EXPECT_FALSE(contains(text, "second"));
  EXPECT_TRUE(contains(text, "third"));
}

TEST(Log, LevelsHaveNames) {
  EXPECT_EQ(parse_log_level("WARNING"), LogLevel::kWarn);
  EXPECT_EQ(parse_log_level("debug"), LogLevel::kDebug);
  EXPECT_TRUE(contains(test::message_of<UserError>([] { (void)parse_log_level("loud"); }), "loud"));
}

TEST(Progress, LineShowsStepFieldsAndTimeLeft) {
  const std::vector<ProgressField> fields = {{"reward", "0.51"}, {"loss", "0.02"}};
  EXPECT_EQ(progress_line("train", 25, 100, true, fields, 185, 0),
            "train 25/100 [#####---------------]  reward 0.51  loss 0.02  ETA 3m 05s");
  EXPECT_EQ(progress_line("eval", 3, 0, true, {}, -1, 0), "eval 3");
  EXPECT_EQ(progress_line("train", 25, 100, true, fields, 185, 20).size(), 19U);
}

TEST(Progress, EstimatesFromTheStepsOfThisProcess) {
  const Progress resumed("train", 100, {.start = 50, .plain_every = 10});
  EXPECT_DOUBLE_EQ(resumed.remaining_seconds(60, 20.0), 80.0);
  EXPECT_LT(resumed.remaining_seconds(50, 20.0), 0);
}

TEST(Progress, WritesPlainLinesWithoutATerminal) {
  if (stderr_is_terminal()) GTEST_SKIP() << "stderr is a terminal";
  const std::string text = stderr_of([] {
    Progress progress("train", 25, {.start = 0, .plain_every = 10});
    for (int step = 1; step <= 23; ++step) progress.update(step, {});
  });
  EXPECT_FALSE(contains(text, "train 9/25"));
  EXPECT_TRUE(contains(text, "train 10/25"));
  EXPECT_TRUE(contains(text, "train 20/25"));
  EXPECT_TRUE(contains(text, "train 23/25"));  // the state at the end
  EXPECT_FALSE(contains(text, "train 22/25"));
}

TEST(Interrupt, TheFirstSignalSetsTheFlag) {
  clear_interrupt();
  install_interrupt_handlers();
  EXPECT_FALSE(interrupt_requested());
  (void)stderr_of([] { std::raise(SIGTERM); });
  EXPECT_TRUE(interrupt_requested());
  EXPECT_EQ(interrupt_signal(), SIGTERM);
  clear_interrupt();
  EXPECT_FALSE(interrupt_requested());
}

TEST(InterruptDeathTest, TheSecondSignalEndsAtOnce) {
  EXPECT_EXIT(
      {
        clear_interrupt();
        install_interrupt_handlers();
        std::raise(SIGINT);
        std::raise(SIGINT);
      },
      testing::ExitedWithCode(128 + SIGINT), "interrupted");
}

}  // namespace
}  // namespace graft::support
