// SPDX-License-Identifier: Apache-2.0
// JSON Schema text, as plugins publish it, into Schema.
#include <algorithm>

#include "config/json.h"
#include "config/schema.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;
using support::PluginError;

[[noreturn]] void fail(const std::string& where, const std::string& path, const std::string& what) {
  throw PluginError(
      cat(where, ": the parameter schema is invalid", path.empty() ? "" : " at ", path, ": ", what));
}

unsigned type_bit(const json& word, const std::string& where, const std::string& path) {
  constexpr std::pair<const char*, JsonType> kTypes[] = {
      {"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger}, {"number", kNumber},
      {"string", kString}, {"array", kArray},     {"object", kObject},
  };
  for (const auto& [name, type] : kTypes) {
    if (word == name) return type;
  }
  fail(where, path,
       cat("type is ", shown(word), "; expected null, boolean, integer, number, string, array or object"));
}

class Reader {
 public:
  explicit Reader(const std::string& where) : where_(where) {}

  Schema read(const json& source, const std::string& path) const {
    if (!source.is_object()) fail(where_, path, cat("found ", shown(source), "; expected an object"));
    Schema out;
    for (const auto& [keyword, value] : source.items()) {
      if (!read_keyword(keyword, value, path, out)) {
        fail(
            where_, path,
            cat("the keyword \"", keyword,
                "\" is not supported; expected type, description, default, enum, minimum, maximum, "
                "exclusiveMinimum, "
                "exclusiveMaximum, items, minItems, maxItems, properties, required or additionalProperties"));
      }
    }
    finish(source, path, out);
    return out;
  }

 private:
  bool read_keyword(const std::string& keyword, const json& value, const std::string& path,
                    Schema& out) const {
    if (keyword == "type") {
      for (const json& word : value.is_array() ? value : json::array({value}))
        out.types |= type_bit(word, where_, path);
    } else if (keyword == "description") {
      out.description = text(value, keyword, path);
    } else if (keyword == "default") {
      out.default_value = value;
    } else if (keyword == "enum") {
      if (!value.is_array() || value.empty())
        fail(where_, path, "enum must be a list with at least one value");
      out.allowed = value.get<std::vector<json>>();
    } else if (keyword == "minimum") {
      out.minimum = number(value, keyword, path);
    } else if (keyword == "maximum") {
      out.maximum = number(value, keyword, path);
    } else if (keyword == "exclusiveMinimum") {
      out.exclusive_minimum = number(value, keyword, path);
    } else if (keyword == "exclusiveMaximum") {
      out.exclusive_maximum = number(value, keyword, path);
    } else if (keyword == "minItems") {
      out.min_items = count(value, keyword, path);
    } else if (keyword == "maxItems") {
      out.max_items = count(value, keyword, path);
    } else if (keyword == "items") {
      out.items = std::make_shared<const Schema>(read(value, dotted(path, "items")));
    } else if (keyword == "properties") {
      if (!value.is_object()) fail(where_, path, "properties must be an object");
      for (const auto& [name, property] : value.items()) {
        out.properties.push_back({name, read(property, dotted(path, name))});
      }
    } else if (keyword == "required") {
      if (!value.is_array()) fail(where_, path, "required must be a list of names");
      for (const json& name : value) out.required.push_back(text(name, keyword, path));
    } else if (keyword == "additionalProperties") {
      if (!value.is_boolean()) fail(where_, path, "additionalProperties must be true or false");
    } else {
      // Keywords that say nothing about which values are valid.
      return keyword == "title" || keyword == "$schema" || keyword == "$id" || keyword == "examples";
    }
    return true;
  }

  void finish(const json& source, const std::string& path, Schema& out) const {
    if (out.types == 0 && !out.properties.empty()) out.types = kObject;
    // JSON Schema leaves objects open unless told otherwise. Parameters are closed, so that a typo is found;
    // an object without declared properties inside them is a free-form value.
    out.is_open = source.value("additionalProperties", out.properties.empty() && !path.empty());
    for (const std::string& name : out.required) {
      if (out.find(name) == nullptr)
        fail(where_, path, cat("required names \"", name, "\", which is not a property"));
    }
    if (!out.default_value) return;
    try {
      out.default_value = resolve(
          out, *out.default_value, [](const std::string&) { return std::string("default"); }, path);
    } catch (const support::UserError& error) {
      fail(where_, path, error.what());
    }
  }

  std::string text(const json& value, const std::string& keyword, const std::string& path) const {
    if (!value.is_string()) fail(where_, path, cat(keyword, " is ", shown(value), "; expected a string"));
    return value.get<std::string>();
  }

  double number(const json& value, const std::string& keyword, const std::string& path) const {
    if (!value.is_number()) fail(where_, path, cat(keyword, " is ", shown(value), "; expected a number"));
    return value.get<double>();
  }

  std::size_t count(const json& value, const std::string& keyword, const std::string& path) const {
    if (!value.is_number_unsigned())
      fail(where_, path, cat(keyword, " is ", shown(value), "; expected a count"));
    return value.get<std::size_t>();
  }

  const std::string& where_;
};

}  // namespace

Schema schema_from_json(const json& schema, const std::string& where) {
  if (schema.is_null()) {
    Schema none;
    none.types = kObject;
    return none;
  }
  Schema out = Reader(where).read(schema, {});
  if (out.types == 0) out.types = kObject;
  if (out.types != kObject) fail(where, {}, "expected the type object at the top");
  return out;
}

json resolve_params(const json& schema, const json& given, const std::string& where) {
  const Schema parsed = schema_from_json(schema, where);
  return resolve(parsed, given.is_null() ? json::object() : given, [&](const std::string&) { return where; });
}

std::string params_help(const json& schema, const std::string& where) {
  const Schema parsed = schema_from_json(schema, where);
  if (parsed.properties.empty()) return "  (no parameters)\n";
  std::size_t width = 0;
  for (const Property& property : parsed.properties) width = std::max(width, property.name.size());
  std::string out;
  for (const Property& property : parsed.properties) {
    const Schema& item = property.schema;
    out += cat("  ", property.name, std::string(width - property.name.size(), ' '), "  ", expectation(item));
    const bool is_required =
        std::find(parsed.required.begin(), parsed.required.end(), property.name) != parsed.required.end();
    if (item.default_value) out += cat("; default ", shown(*item.default_value));
    if (is_required && !item.default_value) out += "; required";
    out += item.description.empty() ? "\n" : cat("\n  ", std::string(width + 2, ' '), item.description, "\n");
  }
  return out;
}

}  // namespace graft::config
