// SPDX-License-Identifier: Apache-2.0
// What a JSON value must look like, and the one routine that checks it: for the run's configuration and for
// the parameters of plugins alike. Defaults are filled in, so code behind it never asks whether a key is
// there.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace graft::config {

// Bits of Schema::types.
enum JsonType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
};

struct Property;

// A subset of JSON Schema: type, enum, minimum, maximum, exclusiveMinimum, exclusiveMaximum, items, minItems,
// maxItems, properties, required, additionalProperties, default, description.
struct Schema {
  unsigned types = 0;  // JsonType bits; 0 accepts everything
  std::string description;
  std::string unit;  // "tokens", "pixels"; may be empty
  std::optional<nlohmann::json> default_value;
  std::vector<nlohmann::json> allowed;  // enum; empty: no restriction
  std::optional<double> minimum, maximum, exclusive_minimum, exclusive_maximum;
  std::optional<std::size_t> min_items, max_items;
  std::shared_ptr<const Schema> items;  // of an array; null accepts everything
  std::vector<Property> properties;     // of an object, in the order of the documentation
  std::vector<std::string> required;
  bool is_open = false;        // an object may have keys that are not declared
  bool wraps_single = false;   // an array may be given as its only item
  std::string item_shorthand;  // an array item may be a string that stands for {item_shorthand: string}

  [[nodiscard]] const Schema* find(const std::string& key) const;  // property by name, null if there is none
};

struct Property {
  std::string name;
  Schema schema;
};

// Where the value at a dotted path was written: "run.json:12" or "--lora_r 8". Begins the message of every
// error.
using Where = std::function<std::string(const std::string& path)>;

// Checks `given` and returns it with defaults filled in, numbers in their declared type (1 becomes 1.0 for a
// number, 2.0 becomes 2 for an integer) and single values wrapped where the schema says so. Throws UserError
// that names the place, the full dotted key, what was found and what was expected; an unknown key comes with
// the nearest known one.
[[nodiscard]] nlohmann::json resolve(const Schema& schema, const nlohmann::json& given, const Where& where,
                                     const std::string& path = {});

// What the schema accepts, for messages and tables: `a number, at least 0`, `one of "a", "b"`, `a list of
// strings`.
[[nodiscard]] std::string expectation(const Schema& schema);

// Full dotted names of all declared keys below the schema; sections and keys.
[[nodiscard]] std::vector<std::string> key_names(const Schema& schema);

// Reads the JSON Schema of a plugin's parameters. Throws PluginError naming `where` for keywords outside of
// the subset (they would silently not be enforced), wrong types, and defaults that do not pass their own
// schema.
[[nodiscard]] Schema schema_from_json(const nlohmann::json& schema, const std::string& where);

// Validates a plugin's parameters against its JSON Schema (an empty or null one means "no parameters") and
// fills the defaults in. `where` begins each message: `reward "iou" (rewards.0.params)`.
[[nodiscard]] nlohmann::json resolve_params(const nlohmann::json& schema, const nlohmann::json& given,
                                            const std::string& where);

// The parameters of a JSON Schema as a table for people: name, what is accepted, default, description; one
// line each.
[[nodiscard]] std::string params_help(const nlohmann::json& schema, const std::string& where);

}  // namespace graft::config
