// SPDX-License-Identifier: Apache-2.0
#include "config/json.h"

#include <gtest/gtest.h>

#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::config {
namespace {

using support::UserError;
using test::contains;
using test::message_of;

std::string error_of(const std::string& text) {
  return message_of<UserError>([&] { (void)parse_json_document(text, "run.json"); });
}

TEST(Json, AcceptsBothKindsOfComments) {
  const JsonDocument document =
      parse_json_document("// head\n{ /* a\n b */ \"x\": 1, // tail\n \"y\": [2] }", "f");
  EXPECT_EQ(document.value, (nlohmann::json{{"x", 1}, {"y", {2}}}));
}

TEST(Json, RemembersTheLineOfEveryKeyAndItem) {
  const JsonDocument document = parse_json_document(R"({
  "a": 1, "b": {
    "c":
      2,
    "d": [ {"name": "x"},
           {"name": "y"},
           7 ]
  },  // comment
  /* two
     lines */ "e": null
})",
                                                    "run.json");
  EXPECT_EQ(document.where("a"), "run.json:2");
  EXPECT_EQ(document.where("b"), "run.json:2");
  EXPECT_EQ(document.where("b.c"), "run.json:3");
  EXPECT_EQ(document.where("b.d.0.name"), "run.json:5");
  EXPECT_EQ(document.where("b.d.1"), "run.json:6");
  EXPECT_EQ(document.where("b.d.2"), "run.json:7");
  EXPECT_EQ(document.where("e"), "run.json:10");
  EXPECT_EQ(document.where("nothing"), "run.json");
}

TEST(Json, SyntaxErrorsNameLineAndColumn) {
  const std::string message = error_of("{\n  \"a\": 1,\n  \"b\" 2\n}");
  EXPECT_TRUE(contains(message, "run.json:3:7: malformed JSON: "));
  EXPECT_TRUE(contains(message, "expected ':'"));
  EXPECT_FALSE(contains(message, "json.exception"));
  EXPECT_TRUE(contains(error_of("{\"a\": 1,}"), "run.json:1:9"));
  EXPECT_TRUE(contains(error_of("{\"a\": 1"), "unexpected end of input"));
  EXPECT_TRUE(contains(error_of("[1] 2"), "run.json:1:5"));
  EXPECT_TRUE(contains(error_of("\"\xFF\""), "malformed JSON"));
  EXPECT_TRUE(contains(error_of("[1e999]"), "run.json: malformed JSON: number overflow"));
}

TEST(Json, AnEmptyTextIsAnError) {
  EXPECT_TRUE(contains(error_of(" \n"), "run.json: is empty"));
}

TEST(Json, AKeyGivenTwiceIsAnError) {
  EXPECT_TRUE(contains(error_of("{\"a\": {\"b\": 1,\n \"b\": 2}}"), "run.json:2:"));
  EXPECT_TRUE(contains(error_of("{\"a\": {\"b\": 1,\n \"b\": 2}}"), "\"a.b\" is given twice"));
  EXPECT_NO_THROW((void)parse_json_document("{\"a\": {\"b\": 1}, \"c\": {\"b\": 2}}", "f"));
}

TEST(Json, FirstLineShiftsPositions) {
  EXPECT_TRUE(contains(message_of<UserError>([] { (void)parse_json("{\"a\" 1}", "train.jsonl", 37); }),
                       "train.jsonl:37:6: malformed"));
}

TEST(Json, LoadsAFileAndNamesAMissingOne) {
  const test::TemporaryDirectory dir;
  EXPECT_EQ(load_json(dir.write("a.json", "{\"x\": true}")), (nlohmann::json{{"x", true}}));
  EXPECT_TRUE(
      contains(message_of<UserError>([&] { (void)load_json_document(dir / "none.json"); }), "none.json"));
}

TEST(Json, ShownIsShortAndKeepsCharactersWhole) {
  EXPECT_EQ(shown(3), "3");
  EXPECT_EQ(shown("a\nb"), "\"a\\nb\"");
  std::string text;
  for (int i = 0; i < 60; ++i) text += "é";
  const std::string cut = shown(text);
  EXPECT_LT(cut.size(), 70U);
  EXPECT_TRUE(cut.ends_with("é…"));
}

}  // namespace
}  // namespace graft::config
