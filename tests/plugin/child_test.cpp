// SPDX-License-Identifier: Apache-2.0
#include "plugin/child.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>

namespace graft::plugin {
namespace {

using Outcome = ChildResult::Outcome;
constexpr std::chrono::seconds kAmple(60);

TEST(RunInChild, BringsBackWhatTheBodyReturns) {
  // More than a pipe holds, with every byte.
  std::string text;
  for (int i = 0; i < 1'000'000; ++i) text += static_cast<char>(i % 256);
  const ChildResult result = run_in_child([&] { return text; }, kAmple);
  EXPECT_EQ(result.outcome, Outcome::kReturned);
  EXPECT_EQ(result.result, text);
}

TEST(RunInChild, ChangesNothingHere) {
  int value = 1;
  const ChildResult result = run_in_child(
      [&]() -> std::string {
        value = 2;
        return {};
      },
      kAmple);
  EXPECT_EQ(result.outcome, Outcome::kReturned);
  EXPECT_EQ(result.result, "");
  EXPECT_EQ(value, 1);
}

TEST(RunInChild, TellsHowItEnded) {
  const ChildResult threw =
      run_in_child([]() -> std::string { throw std::runtime_error("no luck"); }, kAmple);
  EXPECT_EQ(threw.outcome, Outcome::kThrew);
  EXPECT_EQ(threw.result, "no luck");

  const ChildResult odd = run_in_child([]() -> std::string { throw 7; }, kAmple);
  EXPECT_EQ(odd.outcome, Outcome::kThrew);

  const ChildResult crashed = run_in_child([]() -> std::string { std::abort(); }, kAmple);
  EXPECT_EQ(crashed.outcome, Outcome::kCrashed);
  EXPECT_NE(crashed.description().find("signal 6"), std::string::npos) << crashed.description();

  const ChildResult exited = run_in_child([]() -> std::string { ::_exit(3); }, kAmple);
  EXPECT_EQ(exited.outcome, Outcome::kExited);
  EXPECT_EQ(exited.code, 3);
}

TEST(RunInChild, EndsABodyThatHangs) {
  const ChildResult result = run_in_child(
      []() -> std::string {
        for (;;) ::pause();
      },
      std::chrono::milliseconds(100));
  EXPECT_EQ(result.outcome, Outcome::kTimedOut);
}

TEST(RunInChild, EndsABodyThatHangsAfterClosingItsFiles) {
  const ChildResult result = run_in_child(
      []() -> std::string {
        for (int fd = 0; fd < 256; ++fd) ::close(fd);
        for (;;) ::pause();
      },
      std::chrono::milliseconds(100));
  EXPECT_EQ(result.outcome, Outcome::kTimedOut);
}

TEST(RunInChild, KeepsTheEndOfTheOutput) {
  const ChildResult result = run_in_child(
      []() -> std::string {
        for (int i = 0; i < 100'000; ++i) std::cerr << "line " << i << "\n";
        std::cerr << "the last words" << std::endl;
        std::abort();
      },
      kAmple);
  EXPECT_EQ(result.outcome, Outcome::kCrashed);
  EXPECT_LE(result.output.size(), 2000U);
  EXPECT_NE(result.description().find("the last words"), std::string::npos);
}

}  // namespace
}  // namespace graft::plugin
