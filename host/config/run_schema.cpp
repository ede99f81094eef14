// SPDX-License-Identifier: Apache-2.0
#include "config/run_schema.h"

#include <type_traits>

#include "config/json.h"
#include "config/run_keys.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;

std::shared_ptr<const Schema> string_items(const KeySpec& spec) {
  Schema item;
  item.types = kString;
  for (const std::string& word : spec.words) item.allowed.emplace_back(word);
  return std::make_shared<const Schema>(std::move(item));
}

template <typename T>
void set_type(Schema& schema, const T& value, const KeySpec& spec) {
  if constexpr (std::is_same_v<T, bool>) {
    schema.types = kBoolean;
    schema.default_value = value;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    schema.types = kInteger;
    schema.default_value = value;
  } else if constexpr (std::is_same_v<T, double>) {
    schema.types = kNumber;
    schema.default_value = value;
  } else if constexpr (std::is_same_v<T, std::string>) {
    schema.types = kString;
    schema.default_value = value;
    for (const std::string& word : spec.words) schema.allowed.emplace_back(word);
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    schema.types = kArray;
    schema.items = string_items(spec);
    schema.wraps_single = true;
    schema.default_value = value;
  } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
    Schema item;
    item.types = kInteger;
    item.minimum = spec.minimum;
    schema.types = kArray;
    schema.items = std::make_shared<const Schema>(std::move(item));
    schema.wraps_single = true;
    schema.default_value = value;
  } else if constexpr (std::is_same_v<T, PatternValues>) {  // its inside: peft_checks.cpp
    schema.types = kObject | kArray;
    schema.is_open = true;
    schema.default_value = json::object();
  } else if constexpr (std::is_same_v<T, PatternOrNames>) {
    schema.types = kString | kArray;
    schema.items = string_items(spec);
    std::visit([&](const auto& alternative) { schema.default_value = alternative; }, value);
  } else {
    static_assert(std::is_same_v<T, json>);
    schema.types = kObject;
    schema.is_open = true;
    schema.default_value = value;
  }
}

template <typename T>
void set_type(Schema& schema, const std::optional<T>& value, const KeySpec& spec) {
  set_type(schema, value.value_or(T{}), spec);
  schema.types |= kNull;
  if (!schema.allowed.empty()) schema.allowed.emplace_back(nullptr);
  if (!value) schema.default_value = nullptr;
}

// Builds the schema and the key list.
class SchemaVisitor {
 public:
  SchemaVisitor() { schema_.root.types = kObject; }

  void section(const char* name, const char* title, unsigned commands) {
    section_ = name;
    title_ = title;
    commands_ = commands;
    if (section_.empty()) return;
    Schema section;
    section.types = kObject;
    section.description = title;
    schema_.root.properties.push_back({section_, std::move(section)});
  }

  template <typename T>
  void key(const char* name, const T& value, const KeySpec& spec) {
    Schema schema;
    set_type(schema, value, spec);
    schema.description = spec.description;
    schema.unit = spec.unit;
    schema.minimum = spec.minimum;
    schema.maximum = spec.maximum;
    schema.exclusive_minimum = spec.above;
    schema.exclusive_maximum = spec.below;
    add(name, std::move(schema), spec.flag, spec.commands);
  }

  void rewards(const char* name, const std::vector<RewardConfig>&, const char* description) {
    const RewardConfig defaults;
    Schema item;
    item.types = kObject;
    Schema reward_name;
    reward_name.types = kString;
    reward_name.description =
        "Reward plugin, or \"python:FILE.py:FUNCTION\": a function as TRL calls it, in a process of its own.";
    Schema weight;
    weight.types = kNumber;
    weight.default_value = defaults.weight;
    weight.description = "Factor of its score in the sum.";
    Schema params;
    params.types = kObject;
    params.is_open = true;
    params.default_value = defaults.params;
    params.description = "Parameters of the reward.";
    Schema isolate;
    isolate.types = kBoolean;
    isolate.default_value = defaults.isolate;
    isolate.description =
        "Run the plugin in a process of its own: a crash costs the score of that completion, not the run.";
    const auto limit = [](const char* unit, const char* text) {
      Schema schema;
      schema.types = kNumber | kNull;
      schema.exclusive_minimum = 0;
      schema.default_value = nullptr;
      schema.unit = unit;
      schema.description = text;
      return schema;
    };
    item.properties = {
        {"name", reward_name},
        {"weight", weight},
        {"params", params},
        {"isolate", isolate},
        {"timeout",
         limit("seconds",
               "For a batch, in a process of its own; then what lacks a score goes without. Null: 60.")},
        {"max_memory", limit("GiB", "Of the process. Null: 4.")}};
    item.required = {"name"};
    Schema list;
    list.types = kArray;
    list.description = description;
    list.default_value = json::array();
    list.wraps_single = true;
    list.item_shorthand = "name";
    list.items = std::make_shared<const Schema>(std::move(item));
    add(name, std::move(list), "", 0);
  }

  RunSchema take() { return std::move(schema_); }

 private:
  void add(const char* name, Schema schema, const char* flag, unsigned commands) {
    schema_.keys.push_back({dotted(section_, name), title_, flag, commands == 0 ? commands_ : commands});
    // The section that was opened last is the last property of the root.
    auto& properties =
        section_.empty() ? schema_.root.properties : schema_.root.properties.back().schema.properties;
    properties.push_back({name, std::move(schema)});
  }

  RunSchema schema_;
  std::string section_, title_;
  unsigned commands_ = 0;
};

}  // namespace

const KeyInfo* RunSchema::find(const std::string& path) const {
  for (const KeyInfo& key : keys) {
    if (path == key.path) return &key;
    const Schema* schema = schema_at(key.path);
    const bool has_children = schema != nullptr && (schema->is_open || (schema->types & kArray) != 0);
    if (has_children && path.starts_with(key.path + ".")) return &key;
  }
  return nullptr;
}

const KeyInfo* RunSchema::find_flag(const std::string& flag) const {
  for (const KeyInfo& key : keys) {
    if (!key.flag.empty() && key.flag == flag) return &key;
  }
  return nullptr;
}

const Schema* RunSchema::schema_at(const std::string& path) const {
  const Schema* schema = &root;
  for (const std::string& part : support::split(path, '.')) {
    schema = schema->find(part);
    if (schema == nullptr) return nullptr;
  }
  return schema;
}

const RunSchema& run_schema() {
  static const RunSchema schema = [] {
    RunConfig defaults;
    SchemaVisitor visitor;
    describe_keys(defaults, visitor);
    return visitor.take();
  }();
  return schema;
}

}  // namespace graft::config
