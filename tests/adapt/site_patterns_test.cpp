// SPDX-License-Identifier: Apache-2.0
#include "adapt/site_patterns.h"

#include <gtest/gtest.h>

#include "support/error.h"
#include "tests/support/errors.h"

namespace graft::adapt {
namespace {

using test::contains;
using test::message_of;

// The modules of PEFT's TestRankAndAlphaPattern: foo at three depths, and names that only contain it.
const std::vector<std::string> kModules = {
    "foo", "module.foo", "module.module.foo", "barfoo", "module.barfoo", "module.module.barfoo", "foobar"};

// Ranks of kModules; 8 where no expression fits.
std::vector<int> ranks(const SitePatterns::Entries& entries, bool is_ordered = true) {
  const SitePatterns patterns(entries, "peft.rank_pattern", is_ordered);
  std::vector<int> out;
  for (const auto& module : kModules) {
    const double value = patterns.value({module});
    out.push_back(value > 0.0 ? static_cast<int>(value) : 8);
  }
  return out;
}

using Ranks = std::vector<int>;

// PEFT: test_no_rank_nor_alpha_pattern, test_rank_and_alpha_pattern_no_matching_keys.
TEST(TestRankAndAlphaPattern, NoPatternAndNoMatchingKeys) {
  EXPECT_EQ(ranks({}), (Ranks{8, 8, 8, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"bla", 4}, {"oo", 5}, {"fo", 6}}), (Ranks{8, 8, 8, 8, 8, 8, 8}));
}

// PEFT: test_rank_pattern_target_all, test_alpha_pattern_target_all.
TEST(TestRankAndAlphaPattern, TargetAll) {
  EXPECT_EQ(ranks({{"foo", 16}}), (Ranks{16, 16, 16, 8, 8, 8, 8}));
}

// PEFT: test_rank_pattern_target_outer, …_middle, …_inner, …_inner_with_caret, and the same of test_alpha_pattern.
TEST(TestRankAndAlphaPattern, TargetOuterMiddleInner) {
  EXPECT_EQ(ranks({{"^foo", 16}}), (Ranks{16, 8, 8, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"^module.foo", 16}}), (Ranks{8, 16, 8, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"module.module.foo", 16}}), (Ranks{8, 8, 16, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"module.foo", 16}}), (Ranks{8, 16, 16, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{R"(^module\.module\.foo)", 16}}), (Ranks{8, 8, 16, 8, 8, 8, 8}));
}

// PEFT: test_rank_pattern_target_middle_inner, …_outer_middle_inner_with_caret, …_with_caret_dict_order, and of test_alpha_pattern.
TEST(TestRankAndAlphaPattern, SeveralKeysTheFirstThatFitsInWrittenOrderCounts) {
  EXPECT_EQ(ranks({{"^foo", 16}, {"module.module.foo", 4}}), (Ranks{16, 8, 4, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"module.foo", 16}, {"foo", 4}}), (Ranks{4, 16, 16, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"foo", 4}, {"module.foo", 16}}), (Ranks{4, 4, 4, 8, 8, 8, 8}));
  EXPECT_EQ(ranks({{"^foo", 16}, {"foo", 4}, {"barfoo", 2}}), (Ranks{16, 4, 4, 2, 2, 2, 8}));
}

TEST(TestRankAndAlphaPattern, KeysMayBeExpressions) {
  EXPECT_EQ(ranks({{"(bar)?foo", 16}}), (Ranks{16, 16, 16, 16, 16, 16, 8}));
  EXPECT_EQ(ranks({{".*module.*foo", 16}}), (Ranks{8, 16, 16, 8, 16, 16, 8}));
  EXPECT_EQ(ranks({{"foo|foobar", 16}}), (Ranks{16, 16, 16, 8, 8, 8, 16}));
}

TEST(SitePatterns, WithoutOrderContradictionsAreErrorsThatAskForAList) {
  EXPECT_EQ(ranks({{"foo", 4}, {"barfoo", 2}}, false), (Ranks{4, 4, 4, 2, 2, 2, 8}));
  EXPECT_EQ(ranks({{"foo", 4}, {"module.foo", 4}}, false), (Ranks{4, 4, 4, 8, 8, 8, 8}));
  const auto message = message_of<support::UserError>([] { ranks({{"foo", 4}, {"module.foo", 16}}, false); });
  EXPECT_TRUE(
      contains(message, "peft.rank_pattern: \"foo\" (4) and \"module.foo\" (16) both fit module.foo"));
  EXPECT_TRUE(contains(message, R"([["module.foo", 16], ["foo", 4]])"));
}

TEST(SitePatterns, OfAFileKeepTheWrittenOrder) {
  const auto object = nlohmann::ordered_json::parse(R"({"module.foo": 16, "foo": 4})");
  const auto patterns = SitePatterns::from_object(object, "rank_pattern");
  EXPECT_EQ(patterns.value({"module.foo"}), 16.0);
  EXPECT_EQ(patterns.value({"foo"}), 4.0);
  EXPECT_EQ(patterns.unused({{"foo"}}), (std::vector<std::string>{"module.foo"}));
}

}  // namespace
}  // namespace graft::adapt
