// SPDX-License-Identifier: Apache-2.0
#include "config/schema.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "config/json.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;
using support::UserError;

constexpr double kLargestExactInteger = 9007199254740992.0;  // 2^53

struct TypeWord {
  JsonType type;
  const char* one;
  const char* many;
};

// In the order in which an expectation names them.
constexpr TypeWord kTypeWords[] = {
    {kObject, "an object", "objects"},
    {kArray, "a list", "lists"},
    {kString, "a string", "strings"},
    {kNumber, "a number", "numbers"},
    {kInteger, "an integer", "integers"},
    {kBoolean, "true or false", "booleans"},
    {kNull, "null", "nulls"},
};

std::string or_list(const std::vector<std::string>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i];
  }
  return out;
}

std::string range_text(const Schema& schema) {
  std::vector<std::string> parts;
  if (schema.exclusive_minimum) parts.push_back(cat("greater than ", *schema.exclusive_minimum));
  if (schema.minimum) parts.push_back(cat("at least ", *schema.minimum));
  if (schema.exclusive_maximum) parts.push_back(cat("less than ", *schema.exclusive_maximum));
  if (schema.maximum) parts.push_back(cat("at most ", *schema.maximum));
  return parts.empty() ? std::string() : cat(", ", support::join(parts, " and "));
}

// What a list holds: ` of strings`, or ` with items out of "a", "b"`.
std::string items_text(const Schema& items) {
  if (!items.allowed.empty()) {
    std::vector<std::string> words;
    for (const json& word : items.allowed) words.push_back(shown(word));
    return cat(" with items out of ", support::join(words, ", "));
  }
  for (const TypeWord& word : kTypeWords) {
    if (items.types == word.type) return cat(" of ", word.many);
  }
  return {};
}

// Numbers in the type that the schema declares; other values unchanged.
json in_declared_type(const Schema& schema, const json& value) {
  const bool integer = (schema.types & kInteger) != 0, number = (schema.types & kNumber) != 0;
  if (value.is_number_integer() && number && !integer) return value.get<double>();
  if (value.is_number_float() && integer && !number) {
    const double as_double = value.get<double>();
    if (as_double == std::floor(as_double) && std::abs(as_double) <= kLargestExactInteger) {
      return static_cast<std::int64_t>(as_double);
    }
  }
  return value;
}

bool has_declared_type(const Schema& schema, const json& value) {
  if (schema.types == 0) return true;
  unsigned type = 0;
  switch (value.type()) {
    case json::value_t::null:
      type = kNull;
      break;
    case json::value_t::boolean:
      type = kBoolean;
      break;
    case json::value_t::number_integer:
      type = kInteger | kNumber;
      break;
    case json::value_t::number_unsigned:
      // Values from 2^63 on would not survive the way into an int64.
      type = value.get<std::uint64_t>() >> 63 == 0 ? kInteger | kNumber : kNumber;
      break;
    case json::value_t::number_float:
      type = kNumber;
      break;
    case json::value_t::string:
      type = kString;
      break;
    case json::value_t::array:
      type = kArray;
      break;
    case json::value_t::object:
      type = kObject;
      break;
    default:
      break;
  }
  return (schema.types & type) != 0;
}

bool is_in_range(const Schema& schema, const json& value) {
  if (value.is_array()) {
    return value.size() >= schema.min_items.value_or(0) &&
           value.size() <= schema.max_items.value_or(SIZE_MAX);
  }
  if (!value.is_number()) return true;
  const double number = value.get<double>();
  return std::isfinite(number) && !(schema.minimum && number < *schema.minimum) &&
         !(schema.maximum && number > *schema.maximum) &&
         !(schema.exclusive_minimum && number <= *schema.exclusive_minimum) &&
         !(schema.exclusive_maximum && number >= *schema.exclusive_maximum);
}

void collect_names(const Schema& schema, const std::string& prefix, std::vector<std::string>& out) {
  for (const Property& property : schema.properties) {
    const std::string path = dotted(prefix, property.name);
    out.push_back(path);
    collect_names(property.schema, path, out);
  }
}

class Resolver {
 public:
  Resolver(const Schema& root, const Where& where, std::string root_path)
      : root_(root), where_(where), root_path_(std::move(root_path)) {}

  json value(const Schema& schema, const json& given, const std::string& path) const {
    if (schema.wraps_single && !given.is_array() && !given.is_null() && (schema.types & kArray) != 0) {
      return value(schema, json::array({given}), path);
    }
    json out = in_declared_type(schema, given);
    const bool allowed = schema.allowed.empty() ||
                         std::find(schema.allowed.begin(), schema.allowed.end(), out) != schema.allowed.end();
    if (!has_declared_type(schema, out) || !allowed || !is_in_range(schema, out)) {
      throw UserError(cat(where_(path), ": ", path.empty() ? "the value" : path, " is ", shown(given),
                          "; expected ", expectation(schema), hint(schema, given)));
    }
    if (out.is_object() && (!schema.properties.empty() || !schema.is_open)) return object(schema, out, path);
    if (out.is_array() && schema.items != nullptr) return array(schema, out, path);
    return out;
  }

 private:
  json array(const Schema& schema, const json& given, const std::string& path) const {
    json out = json::array();
    for (std::size_t i = 0; i < given.size(); ++i) {
      json item = given[i];
      if (item.is_string() && !schema.item_shorthand.empty())
        item = json::object({{schema.item_shorthand, item}});
      out.push_back(value(*schema.items, item, dotted(path, std::to_string(i))));
    }
    return out;
  }

  json object(const Schema& schema, const json& given, const std::string& path) const {
    json out = json::object();
    for (const auto& [key, item] : given.items()) {
      const std::string item_path = dotted(path, key);
      const Schema* property = schema.find(key);
      if (property == nullptr && !schema.is_open) unknown_key(schema, key, path, item_path);
      out[key] = property == nullptr ? item : value(*property, item, item_path);
    }
    for (const Property& property : schema.properties) {
      if (out.contains(property.name)) continue;
      const std::string item_path = dotted(path, property.name);
      if (property.schema.default_value) {
        out[property.name] = value(property.schema, *property.schema.default_value, item_path);
      } else if (std::find(schema.required.begin(), schema.required.end(), property.name) !=
                 schema.required.end()) {
        throw UserError(
            cat(where_(path), ": ", item_path, " is missing; expected ", expectation(property.schema)));
      } else if (property.schema.types == kObject) {
        out[property.name] = value(property.schema, json::object(), item_path);
      }
    }
    return out;
  }

  [[noreturn]] void unknown_key(const Schema& schema, const std::string& key, const std::string& path,
                                const std::string& item_path) const {
    std::vector<std::string> here;
    for (const Property& property : schema.properties) here.push_back(property.name);
    // A typo is looked for in this object first, then everywhere: the key may only stand in the wrong
    // section.
    std::string near = support::nearest_name(key, here);
    if (!near.empty()) near = dotted(path, near);
    if (near.empty()) {
      std::vector<std::string> names;
      collect_names(root_, root_path_, names);
      near = support::nearest_name(item_path, names);
      if (near.empty()) near = support::nearest_name(key, names);
    }
    std::string advice = "; nothing can be set here";
    if (!near.empty()) {
      advice = cat("; did you mean \"", near, "\"?");
    } else if (!here.empty()) {
      advice = cat("; expected one of ", support::join(here, ", "));
    }
    throw UserError(cat(where_(item_path), ": unknown key \"", item_path, "\"", advice));
  }

  // For a word that is not among the allowed ones: the nearest.
  static std::string hint(const Schema& schema, const json& given) {
    if (!given.is_string()) return {};
    std::vector<std::string> words;
    for (const json& word : schema.allowed) {
      if (word.is_string()) words.push_back(word.get<std::string>());
    }
    return support::did_you_mean(given.get<std::string>(), words);
  }

  const Schema& root_;
  const Where& where_;
  std::string root_path_;
};

}  // namespace

const Schema* Schema::find(const std::string& key) const {
  for (const Property& property : properties) {
    if (property.name == key) return &property.schema;
  }
  return nullptr;
}

json resolve(const Schema& schema, const json& given, const Where& where, const std::string& path) {
  return Resolver(schema, where, path).value(schema, given, path);
}

std::string expectation(const Schema& schema) {
  if (!schema.allowed.empty()) {
    std::vector<std::string> words;
    for (const json& word : schema.allowed) words.push_back(shown(word));
    return words.size() == 1 ? words[0] : cat("one of ", support::join(words, ", "));
  }
  std::vector<std::string> words;
  for (const TypeWord& word : kTypeWords) {
    if ((schema.types & word.type) == 0) continue;
    std::string text = word.one;
    if (word.type == kArray && schema.items != nullptr) text += items_text(*schema.items);
    if (word.type == kNumber || word.type == kInteger) text += range_text(schema);
    words.push_back(text);
  }
  if (words.empty()) return "any value";
  std::string out = or_list(words);
  if (schema.min_items)
    out += cat(", with at least ", *schema.min_items, *schema.min_items == 1 ? " item" : " items");
  if (schema.max_items)
    out += cat(", with at most ", *schema.max_items, *schema.max_items == 1 ? " item" : " items");
  return out;
}

std::vector<std::string> key_names(const Schema& schema) {
  std::vector<std::string> out;
  collect_names(schema, {}, out);
  return out;
}

}  // namespace graft::config
