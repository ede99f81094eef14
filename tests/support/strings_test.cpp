// SPDX-License-Identifier: Apache-2.0
#include "support/strings.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace graft::support {
namespace {

TEST(Strings, CatJoinsTextAndValues) {
  const std::string name = "n";
  EXPECT_EQ(cat("a", name, 'c', true, -3, std::uint64_t{18446744073709551615U}, std::string_view("z")),
            "anctrue-318446744073709551615z");
  EXPECT_EQ(cat(), "");
  EXPECT_EQ(cat(std::filesystem::path("/tmp/x y")), "/tmp/x y");
}

TEST(Strings, CatWritesTheShortestFloatingPointTextThatReadsBack) {
  EXPECT_EQ(cat(0.1), "0.1");
  EXPECT_EQ(cat(1e-6), "1e-06");
  EXPECT_EQ(cat(0.1F), "0.1");
  EXPECT_EQ(std::stod(cat(1.0 / 3.0)), 1.0 / 3.0);
}

TEST(Strings, FixedKeepsTheNumberOfDigits) {
  EXPECT_EQ(fixed(1.23456, 3), "1.235");
  EXPECT_EQ(fixed(2, 2), "2.00");
  EXPECT_EQ(fixed(std::numeric_limits<double>::quiet_NaN(), 2), "nan");
}

TEST(Strings, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a:b", ':'), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(split("a::", ':'), (std::vector<std::string>{"a", "", ""}));
  EXPECT_EQ(split("", ':'), (std::vector<std::string>{""}));
  EXPECT_EQ(join(split("x,y,z", ','), ", "), "x, y, z");
}

TEST(Strings, TrimRemovesWhiteSpaceAtBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim("   "), "");
}

TEST(Strings, ReplaceAllDoesNotLookAtWhatItPutIn) {
  EXPECT_EQ(replace_all("aXbX", "X", "XX"), "aXXbXX");
  EXPECT_EQ(replace_all("abc", "", "x"), "abc");
}

TEST(Strings, NumbersAreParsedWhole) {
  std::int64_t integer = 7;
  EXPECT_TRUE(parse_number("-12", integer));
  EXPECT_EQ(integer, -12);
  EXPECT_FALSE(parse_number("12x", integer));
  EXPECT_FALSE(parse_number("", integer));
  EXPECT_FALSE(parse_number("99999999999999999999", integer));
  EXPECT_EQ(integer, -12);
  double number = 0;
  EXPECT_TRUE(parse_number(".5", number));
  EXPECT_EQ(number, 0.5);
}

TEST(Strings, EditDistanceCountsASwapAsOne) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("beta", "btea"), 1U);
  EXPECT_EQ(edit_distance("same", "same"), 0U);
}

TEST(Strings, NearestNameFindsTyposAndForgottenSections) {
  const std::vector<std::string> names = {"optimizer.learning_rate", "optimizer.eps", "rollout.top_k"};
  EXPECT_EQ(nearest_name("optimizer.learnin_rate", names), "optimizer.learning_rate");
  EXPECT_EQ(nearest_name("learning_rate", names), "optimizer.learning_rate");
  EXPECT_EQ(nearest_name("Learning-Rate", names), "optimizer.learning_rate");
  EXPECT_EQ(nearest_name("completely_different", names), "");
  EXPECT_EQ(nearest_name("iuo", {"iou", "format"}), "iou");
  EXPECT_EQ(nearest_name("", {"a", "iou"}), "");
}

TEST(Strings, DidYouMeanIsEmptyWithoutANearName) {
  EXPECT_EQ(did_you_mean("fromat", {"format", "iou"}), "; did you mean \"format\"?");
  EXPECT_EQ(did_you_mean("zzzzzz", {"format"}), "");
}

TEST(Strings, HumanBytesUsesBinaryUnits) {
  EXPECT_EQ(human_bytes(12), "12 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes((std::uint64_t{1} << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(std::uint64_t{3} << 30), "3.0 GiB");
}

TEST(Strings, HumanDurationShowsTwoUnits) {
  EXPECT_EQ(human_duration(0.84), "0.8s");
  EXPECT_EQ(human_duration(42), "42s");
  EXPECT_EQ(human_duration(185), "3m 05s");
  EXPECT_EQ(human_duration(7620), "2h 07m");
  EXPECT_EQ(human_duration(273600), "3d 04h");
  EXPECT_EQ(human_duration(-1), "?");
}

TEST(Strings, BytesAreParsed) {
  const auto parsed = [](const char* text) {
    std::int64_t bytes = -1;
    return parse_bytes(text, bytes) ? bytes : -1;
  };
  EXPECT_EQ(parsed("24GiB"), std::int64_t{24} << 30);
  EXPECT_EQ(parsed("1.5 GB"), 1'500'000'000);
  EXPECT_EQ(parsed(" 800mib "), 800 << 20);
  EXPECT_EQ(parsed("4096"), 4096);
  EXPECT_EQ(parsed("4096B"), 4096);
  EXPECT_EQ(parsed("2k"), 2000);
  for (const char* bad : {"", "GiB", "12 apples", "1.2.3GB", "-1GB", "12iB", "9999999999999PiB"}) {
    EXPECT_EQ(parsed(bad), -1) << bad;
  }
}

TEST(Strings, Utf8IsCheckedByTheStandard) {
  EXPECT_TRUE(is_utf8("aé你😀"));
  EXPECT_TRUE(is_utf8(""));
  EXPECT_FALSE(is_utf8("\xC3"));          // cut
  EXPECT_FALSE(is_utf8("\xC0\xAF"));      // overlong
  EXPECT_FALSE(is_utf8("\xED\xA0\x80"));  // surrogate
  EXPECT_FALSE(is_utf8("\xF4\x90\x80\x80"));
  EXPECT_FALSE(is_utf8("\xFF"));
}

}  // namespace
}  // namespace graft::support
