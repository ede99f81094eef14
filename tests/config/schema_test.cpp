// SPDX-License-Identifier: Apache-2.0
#include "config/schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/error.h"
#include "tests/support/errors.h"

namespace graft::config {
namespace {

using nlohmann::json;
using support::PluginError;
using support::UserError;
using test::contains;
using test::message_of;

const json kLora = json::parse(R"({
  "type": "object",
  "properties": {
    "r": {"type": "integer", "default": 8, "minimum": 1, "maximum": 1024, "description": "rank"},
    "alpha": {"type": "number", "default": 16, "exclusiveMinimum": 0},
    "dropout": {"type": "number", "default": 0.0, "minimum": 0, "maximum": 1},
    "bias": {"type": "string", "enum": ["none", "all"], "default": "none"},
    "layers": {"type": ["array", "null"], "items": {"type": "integer"}, "default": null},
    "patterns": {"type": "object", "default": {}},
    "init": {"type": "object", "properties": {"kind": {"type": "string", "default": "kaiming"},
                                              "scale": {"type": "number", "default": 1}}},
    "free": {"description": "any value"}
  }
})");

json resolved(const char* given) {
  return resolve_params(kLora, json::parse(given), "strategy \"lora\"");
}

std::string error_of(const char* given) {
  return message_of<UserError>([&] { (void)resolved(given); });
}

TEST(Params, DefaultsAreFilledInInTheDeclaredType) {
  const json out = resolved("{}");
  EXPECT_EQ(out.at("r"), 8);
  EXPECT_TRUE(out.at("alpha").is_number_float());
  EXPECT_EQ(out.at("alpha"), 16.0);
  EXPECT_EQ(out.at("init"), json::parse(R"({"kind": "kaiming", "scale": 1.0})"));
  EXPECT_TRUE(out.at("layers").is_null());
  EXPECT_FALSE(out.contains("free"));
  EXPECT_EQ(resolve_params(kLora, nullptr, "w"), out);
}

TEST(Params, GivenValuesAreKeptAndConverted) {
  const json out =
      resolved(R"({"r": 4.0, "alpha": 3, "layers": [1, 2], "patterns": {"q": {"x": 1}}, "free": [1, "a"],
                                "init": {"scale": 2}})");
  EXPECT_TRUE(out.at("r").is_number_integer());
  EXPECT_EQ(out.at("r"), 4);
  EXPECT_TRUE(out.at("alpha").is_number_float());
  EXPECT_EQ(out.at("patterns"), json::parse(R"({"q": {"x": 1}})"));
  EXPECT_EQ(out.at("free"), json::parse(R"([1, "a"])"));
  EXPECT_EQ(out.at("init"), json::parse(R"({"kind": "kaiming", "scale": 2.0})"));
}

TEST(Params, ResolvingIsIdempotent) {
  const json once = resolved(R"({"r": 4, "init": {"scale": 2}})");
  EXPECT_EQ(resolve_params(kLora, once, "w"), once);
}

TEST(Params, AnUnknownNameComesWithTheNearestOne) {
  const std::string message = error_of(R"({"dropuot": 0.1})");
  EXPECT_EQ(message, "strategy \"lora\": unknown key \"dropuot\"; did you mean \"dropout\"?");
  EXPECT_TRUE(contains(error_of(R"({"init": {"kid": "x"}})"),
                       "unknown key \"init.kid\"; did you mean \"init.kind\"?"));
  EXPECT_TRUE(contains(error_of(R"({"zzzzzzzzz": 1})"), "expected one of "));
}

TEST(Params, ErrorsSayWhatWasFoundAndWhatWasExpected) {
  EXPECT_TRUE(contains(error_of(R"({"r": "eight"})"),
                       "r is \"eight\"; expected an integer, at least 1 and at most 1024"));
  EXPECT_TRUE(contains(error_of(R"({"r": 0})"), "r is 0; expected"));
  EXPECT_TRUE(contains(error_of(R"({"r": 1.5})"), "r is 1.5; expected an integer"));
  EXPECT_TRUE(contains(error_of(R"({"alpha": 0})"), "expected a number, greater than 0"));
  EXPECT_TRUE(
      contains(error_of(R"({"dropout": 2})"), "dropout is 2; expected a number, at least 0 and at most 1"));
  EXPECT_TRUE(
      contains(error_of(R"({"bias": "non"})"), "expected one of \"none\", \"all\"; did you mean \"none\"?"));
  EXPECT_TRUE(contains(error_of(R"({"layers": [1, "x"]})"), "layers.1 is \"x\"; expected an integer"));
  EXPECT_TRUE(contains(error_of(R"({"layers": 3})"), "expected a list of integers or null"));
  EXPECT_TRUE(contains(error_of("[]"), "the value is []; expected an object"));
  EXPECT_TRUE(contains(error_of(R"({"r": true})"), "r is true; expected an integer"));
  EXPECT_TRUE(contains(error_of(R"({"r": 18446744073709551615})"), "expected an integer"));
}

TEST(Params, RequiredNamesMustBeGiven) {
  const json schema =
      json::parse(R"({"type": "object", "required": ["file"], "properties": {"file": {"type": "string"}}})");
  EXPECT_TRUE(
      contains(message_of<UserError>([&] { (void)resolve_params(schema, json::object(), "reward \"x\""); }),
               "reward \"x\": file is missing; expected a string"));
  EXPECT_EQ(resolve_params(schema, {{"file", "a"}}, "w"), (json{{"file", "a"}}));
}

TEST(Params, WithoutASchemaThereAreNone) {
  EXPECT_EQ(resolve_params(nullptr, json::object(), "w"), json::object());
  EXPECT_TRUE(contains(message_of<UserError>([] {
                         (void)resolve_params(nullptr, {{"a", 1}}, "w");
                       }),
                       "nothing can be set here"));
}

TEST(Params, ItemsMayBeLimitedInNumber) {
  const json schema = json::parse(
      R"({"type": "object", "properties": {"box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}}})");
  EXPECT_EQ(resolve_params(schema, json::parse(R"({"box": [1, 2, 3, 4]})"), "w").at("box").size(), 4U);
  EXPECT_TRUE(contains(
      message_of<UserError>([&] { (void)resolve_params(schema, json::parse(R"({"box": [1]})"), "w"); }),
      "expected a list of numbers, with at least 4 items, with at most 4 items"));
}

TEST(Params, AnOpenObjectKeepsUndeclaredNames) {
  const json schema = json::parse(
      R"({"type": "object", "additionalProperties": true, "properties": {"a": {"type": "integer", "default": 1}}})");
  EXPECT_EQ(resolve_params(schema, {{"b", 2}}, "w"), (json{{"a", 1}, {"b", 2}}));
}

TEST(Params, HelpListsEveryName) {
  const std::string help = params_help(kLora, "lora");
  EXPECT_TRUE(
      contains(help, "  r         an integer, at least 1 and at most 1024; default 8\n            rank\n"));
  EXPECT_TRUE(contains(help, "one of \"none\", \"all\"; default \"none\""));
  EXPECT_EQ(params_help(nullptr, "x"), "  (no parameters)\n");
}

std::string schema_error(const char* schema) {
  return message_of<PluginError>([&] { (void)schema_from_json(json::parse(schema), "plugin \"x\""); });
}

TEST(PluginSchema, ADefectIsThePluginsError) {
  EXPECT_TRUE(contains(schema_error(R"({"type": "objekt"})"),
                       "plugin \"x\": the parameter schema is invalid: type is \"objekt\""));
  EXPECT_TRUE(contains(schema_error(R"({"type": "array"})"), "expected the type object at the top"));
  EXPECT_TRUE(contains(schema_error(R"({"properties": {"a": {"pattern": "x"}}})"),
                       "at a: the keyword \"pattern\" is not supported"));
  EXPECT_TRUE(contains(schema_error(R"({"properties": {"a": {"type": "integer", "default": "x"}}})"),
                       "a is \"x\"; expected an integer"));
  EXPECT_TRUE(contains(schema_error(R"({"properties": {"a": {"type": "integer", "minimum": "x"}}})"),
                       "minimum is \"x\""));
  EXPECT_TRUE(contains(schema_error(R"({"properties": {"a": {"enum": []}}})"), "enum must be a list"));
  EXPECT_TRUE(contains(schema_error(R"({"properties": {"a": 3}})"), "found 3; expected an object"));
  EXPECT_TRUE(contains(schema_error(R"({"required": ["b"]})"), "\"b\", which is not a property"));
  EXPECT_TRUE(contains(schema_error("[]"), "found []; expected an object"));
}

TEST(Schema, KeyNamesAreDotted) {
  const std::vector<std::string> names = key_names(schema_from_json(kLora, "w"));
  EXPECT_NE(std::find(names.begin(), names.end(), "init.kind"), names.end());
}

}  // namespace
}  // namespace graft::config
