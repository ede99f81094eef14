// SPDX-License-Identifier: Apache-2.0
// json_schema: is the answer JSON of a given form?
#include <re2/re2.h>
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <memory>

#include "common/boxes.h"
#include "common/json.h"
#include "common/params.h"
#include "common/unicode.h"

namespace {

using graft::Json;

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

bool is_whole(const Json& value) {
  return value.is_int() || (value.is_number() && std::floor(value.as_number()) == value.as_number());
}

bool has_type(const Json& value, std::string_view type) {
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
         (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
         (type == "integer" && is_whole(value)) || (type == "boolean" && value.is_bool()) ||
         (type == "null" && value.is_null());
}

bool equal(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.as_number() == b.as_number();
  return a.dump() == b.dump();
}

// A JSON Schema (2020-12) of the keywords below; any other is an error when the run starts, not a rule that never applies.
class Checker {
 public:
  explicit Checker(const Json& schema) : schema_(schema) { check_schema(schema_, "schema"); }

  // What is wrong with a value, as "answer[2].label: …"; empty if nothing is.
  std::string fault(const Json& value) const {
    std::string found = fault(schema_, value);
    return found.empty() ? found : "answer" + found;
  }

 private:
  void check_schema(const Json& schema, const std::string& path) {
    if (schema.is_bool()) return;
    if (!schema.is_object())
      throw graft::Error("\"" + path + "\" is " + schema.dump() + ", expected a JSON Schema");
    static constexpr std::string_view kKnown[] = {"type",
                                                  "properties",
                                                  "required",
                                                  "additionalProperties",
                                                  "items",
                                                  "minItems",
                                                  "maxItems",
                                                  "minimum",
                                                  "maximum",
                                                  "enum",
                                                  "const",
                                                  "pattern",
                                                  "exclusiveMinimum",
                                                  "exclusiveMaximum",
                                                  "minLength",
                                                  "maxLength",
                                                  "anyOf",
                                                  "allOf",
                                                  "not",
                                                  "title",
                                                  "description"};
    for (const auto& [key, value] : schema.members()) {
      const std::string inner = joined({path, ".", key});
      if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown))
        throw graft::Error("\"" + inner + "\": this keyword of JSON Schema is not offered here");
      if (key == "properties") {
        for (const auto& [name, property] : value.members())
          check_schema(property, joined({inner, ".", name}));
      } else if (key == "items" || key == "additionalProperties" || key == "not") {
        check_schema(value, inner);
      } else if (key == "anyOf" || key == "allOf") {
        for (const Json& item : value.items()) check_schema(item, inner);
      } else if (key == "pattern") {
        re2::RE2::Options options;
        options.set_log_errors(false);
        auto compiled = std::make_unique<re2::RE2>(value.as_string(), options);
        if (!compiled->ok())
          throw graft::Error("\"" + inner + "\" is no RE2 expression: " + compiled->error());
        patterns_.insert_or_assign(value.as_string(), std::move(compiled));
      } else if (key == "required") {
        for (const Json& name : value.items()) static_cast<void>(name.as_string());
      } else if (key == "enum") {
        static_cast<void>(value.items());
      } else if (key == "type") {
        check_type(value, inner);
      } else if (key != "const" && key != "title" && key != "description") {
        static_cast<void>(value.as_number());
      }
    }
  }

  static void check_type(const Json& value, const std::string& path) {
    static constexpr std::string_view kTypes[] = {"object",  "array",   "string", "number",
                                                  "integer", "boolean", "null"};
    for (const Json& type : value.is_array() ? value.items() : Json::Items{value}) {
      if (std::find(std::begin(kTypes), std::end(kTypes), type.as_string()) == std::end(kTypes))
        throw graft::Error("\"" + path + "\" is " + type.dump() + ", which is no type of JSON Schema");
    }
  }

  // Begins with the path below the value, put together on the way back.
  std::string fault(const Json& schema, const Json& value) const {
    if (schema.is_bool()) return schema.as_bool() ? "" : ": not allowed";
    for (const auto& [key, rule] : schema.members()) {
      std::string found = rule_fault(schema, key, rule, value);
      if (!found.empty()) return found;
    }
    return {};
  }

  std::string rule_fault(const Json& schema, const std::string& key, const Json& rule,
                         const Json& value) const {
    if (key == "type") {
      const auto matches = [&](const Json& type) { return has_type(value, type.as_string()); };
      const bool ok =
          rule.is_array() ? std::any_of(rule.items().begin(), rule.items().end(), matches) : matches(rule);
      return ok ? "" : ": expected " + rule.dump();
    }
    if (key == "const") return equal(value, rule) ? "" : ": expected " + rule.dump();
    if (key == "enum") {
      const auto& items = rule.items();
      const bool ok =
          std::any_of(items.begin(), items.end(), [&](const Json& item) { return equal(value, item); });
      return ok ? "" : ": expected one of " + rule.dump();
    }
    if (key == "not") return fault(rule, value).empty() ? ": is what it must not be" : "";
    if (key == "anyOf" || key == "allOf") return combination_fault(key == "anyOf", rule, value);
    if (value.is_object()) return object_fault(schema, key, rule, value);
    if (value.is_array()) return array_fault(key, rule, value);
    if (value.is_string()) return text_fault(key, rule, value.as_string());
    if (value.is_number())
      return number_fault(key, rule.is_number() ? rule.as_number() : 0.0, value.as_number());
    return {};
  }

  std::string combination_fault(bool any, const Json& rules, const Json& value) const {
    std::string last;
    for (const Json& rule : rules.items()) {
      last = fault(rule, value);
      if (any == last.empty()) return last;
    }
    return last;
  }

  std::string object_fault(const Json& schema, const std::string& key, const Json& rule,
                           const Json& value) const {
    if (key == "required") {
      for (const Json& name : rule.items()) {
        if (!value.contains(name.as_string())) return ": lacks \"" + name.as_string() + "\"";
      }
    } else if (key == "properties") {
      for (const auto& [name, property] : rule.members()) {
        const Json* member = value.find(name);
        std::string found = member == nullptr ? std::string() : fault(property, *member);
        if (!found.empty()) return joined({".", name, found});
      }
    } else if (key == "additionalProperties") {
      const Json* named = schema.find("properties");
      for (const auto& [name, member] : value.members()) {
        if (named != nullptr && named->contains(name)) continue;
        std::string found = fault(rule, member);
        if (!found.empty()) return joined({".", name, found});
      }
    }
    return {};
  }

  std::string array_fault(const std::string& key, const Json& rule, const Json& value) const {
    const auto n = static_cast<double>(value.items().size());
    if (key == "minItems" && n < rule.as_number()) return ": has fewer than " + rule.dump() + " items";
    if (key == "maxItems" && n > rule.as_number()) return ": has more than " + rule.dump() + " items";
    for (std::size_t i = 0; key == "items" && i < value.items().size(); ++i) {
      std::string found = fault(rule, value.items()[i]);
      if (!found.empty()) return joined({"[", std::to_string(i), "]", found});
    }
    return {};
  }

  std::string text_fault(const std::string& key, const Json& rule, const std::string& value) const {
    if (key == "minLength" || key == "maxLength") {
      const auto n = static_cast<double>(rewards::decode(value).size());
      const bool ok = key == "minLength" ? n >= rule.as_number() : n <= rule.as_number();
      return ok ? "" : ": " + key + " is " + rule.dump();
    }
    if (key == "pattern" && !re2::RE2::PartialMatch(value, *patterns_.at(rule.as_string())))
      return ": does not match " + rule.as_string();
    return {};
  }

  static std::string number_fault(const std::string& key, double rule, double value) {
    const bool wrong = (key == "minimum" && value < rule) || (key == "maximum" && value > rule) ||
                       (key == "exclusiveMinimum" && value <= rule) ||
                       (key == "exclusiveMaximum" && value >= rule);
    return wrong ? ": " + key + " is " + Json(rule).dump() : "";
  }

  Json schema_;
  std::map<std::string, std::unique_ptr<re2::RE2>> patterns_;
};

struct JsonSchema : graft::Reward {
  static constexpr auto name = "json_schema";
  static constexpr auto summary =
      "1 if the answer's JSON, bare or in a fence, is valid under a JSON Schema, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.any("schema", Json::object(), "the JSON Schema, as an object; {} takes any JSON");
    return rewards::add_where(schema, "answer");
  }

  explicit JsonSchema(const graft::Params& params)
      : checker_(params.json().at("schema")), where_(rewards::where_from(params)) {}

  graft::OutputContract contract() const override {
    return {"<answer> JSON of the schema </answer>", "", GRAFT_SPACE_NONE,
            GRAFT_PART_JSON | (where_ == rewards::Where::kAnswer ? GRAFT_PART_ANSWER : 0u), 0};
  }
  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    const auto text = rewards::scored_text(item.completion(), where_);
    if (!text) return graft::Score::unparsable(0.0, rewards::kNoAnswer);
    const auto found = rewards::find_json(*text);
    if (!found || found->is_repaired)
      return graft::Score::unparsable(0.0, "no JSON array or object that can be read");
    std::string fault = checker_.fault(found->value);
    if (fault.empty()) return 1.0;
    return graft::Score(0.0, std::move(fault));
  }

  Checker checker_;
  rewards::Where where_;
};

}  // namespace

GRAFT_PLUGIN(JsonSchema);
