// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <graft/sdk/json.hpp>

#include <string>

namespace graft {
namespace {

std::string failure(std::string_view text, int max_depth = 100) {
  try {
    static_cast<void>(Json::parse(text, max_depth));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(SdkJson, ReadsEveryKindOfValue) {
  const Json json = Json::parse(R"( {"a": [1, -2.5e1, true, false, null], "s": "x\n\u00e9\ud83d\ude00"} )");
  const Json::Items& items = json.at("a").items();
  EXPECT_EQ(items[0].as_int(), 1);
  EXPECT_EQ(items[1].as_number(), -25.0);
  EXPECT_TRUE(items[2].as_bool());
  EXPECT_FALSE(items[3].as_bool());
  EXPECT_TRUE(items[4].is_null());
  EXPECT_EQ(json.at("s").as_string(), "x\n\u00e9\U0001F600");
}

TEST(SdkJson, WritesWhatItReads) {
  const std::string text = R"({"b":1,"a":[0.1,-3,"\"\\\n\u0001é"],"n":null,"t":true,"o":{}})";
  EXPECT_EQ(Json::parse(text).dump(), text);
}

TEST(SdkJson, IntegersKeepAllTheirDigits) {
  EXPECT_EQ(Json::parse("9223372036854775807").as_int(), 9223372036854775807);
  EXPECT_EQ(Json::parse("-9223372036854775808").dump(), "-9223372036854775808");
  EXPECT_EQ(Json::parse("1e6").as_int(), 1000000);
  EXPECT_THROW(static_cast<void>(Json::parse("1.5").as_int()), Error);
}

TEST(SdkJson, TheLastOfEqualKeysCounts) {
  EXPECT_EQ(Json::parse(R"({"k": 1, "k": 2})").at("k").as_int(), 2);
}

TEST(SdkJson, RefusesWhatIsNoJson) {
  for (const char* text : {"", "[1,]", "{\"a\" 1}", "{a: 1}", "01", "1.", "-", "+1", "nul", "\"open",
                           "\"\\x\"", "1 2", "[", "\"\n\"", "\"\\u12\"", "1e999", "NaN"}) {
    EXPECT_NE(failure(text), "") << text;
  }
  EXPECT_EQ(failure("[1 2]"), "JSON, byte 3: expected ']'");
}

TEST(SdkJson, DeepNestingIsAnErrorAndNotACrash) {
  EXPECT_NE(failure(std::string(1000000, '[')), "");
  EXPECT_EQ(failure(std::string(100, '[') + std::string(100, ']')), "");
  EXPECT_NE(failure("[[1]]", 1), "");
}

TEST(SdkJson, LoneSurrogatesBecomeTheReplacementCharacter) {
  EXPECT_EQ(Json::parse(R"("\ud800")").as_string(), "\uFFFD");
  EXPECT_EQ(Json::parse(R"("\udc00\ud800x")").as_string(), "\uFFFD\uFFFDx");
  EXPECT_EQ(Json::parse(R"("\ud800\u0041")").as_string(),
            "\uFFFD"
            "A");
}

TEST(SdkJson, AWrongTypeIsNamed) {
  const Json json = Json::parse(R"({"a": "text"})");
  try {
    static_cast<void>(json.at("a").as_number());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "expected a number, found a string");
  }
  EXPECT_EQ(json.find("b"), nullptr);
  EXPECT_EQ(json.at("a").find("b"), nullptr);
  EXPECT_THROW(static_cast<void>(json.at("b")), Error);
}

TEST(SdkJson, BuildsObjectsAndArraysFromNull) {
  Json json;
  json.set("k", 1);
  json.set("k", "replaced");
  json.set("list", Json()).push(2.5);
  EXPECT_EQ(json.dump(), R"({"k":"replaced","list":[2.5]})");
  EXPECT_EQ(Json::array({1, "a", nullptr}).dump(), R"([1,"a",null])");
}

}  // namespace
}  // namespace graft
