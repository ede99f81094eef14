// SPDX-License-Identifier: Apache-2.0
#include "config/assignments.h"

#include <cstdint>
#include <vector>

#include "config/flags.h"
#include "config/json.h"
#include "config/run_schema.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::config {

using nlohmann::json;
using support::cat;
using support::UserError;

namespace {

std::string commands_text(unsigned commands) {
  std::vector<std::string> names;
  for (const Command command : {kTrain, kSft, kEval, kGenerate}) {
    if ((commands & command) != 0) names.push_back(cat("graft ", command_name(command)));
  }
  return support::join(names, ", ");
}

json::json_pointer pointer(const std::string& path) {
  return json::json_pointer("/" + support::replace_all(path, ".", "/"));
}

// The item of a list by its index or, for objects like rewards, by their "name".
json& list_item(json& list, const std::string& part, const std::string& path, const std::string& origin) {
  std::int64_t index = -1;
  if (!support::parse_number(part, index)) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      const json name = list[i].is_object() ? list[i].value("name", json()) : list[i];
      if (name != part) continue;
      if (index >= 0) {
        throw UserError(cat(origin, ": \"", part, "\" names both item ", index, " and item ", i,
                            "; use the index to set ", path));
      }
      index = static_cast<std::int64_t>(i);
    }
  }
  if (index < 0 || index >= static_cast<std::int64_t>(list.size())) {
    throw UserError(cat(origin, ": there is no \"", part, "\" to set ", path, " in; the list has ",
                        list.size(), " items (0, 1, … or a name)"));
  }
  json& item = list[static_cast<std::size_t>(index)];
  if (item.is_string()) item = json::object({{"name", item}});
  return item;
}

}  // namespace

void Assignments::assign(const std::string& path, const json& value, const std::string& origin) {
  const KeyInfo* key = run_schema().find(path);
  const Schema* section = run_schema().schema_at(path);
  if (key == nullptr && section == nullptr) unknown_key(path, origin);
  if (key != nullptr && (key->commands & command_) == 0) {
    throw UserError(cat(origin, ": ", path, " has no effect on graft ", command_name(command_),
                        "; it belongs to ", commands_text(key->commands)));
  }
  set(path, value, origin);
  origins_[path] = origin;
}

void Assignments::assign_text(const std::string& path, const std::string& text, const std::string& origin) {
  assign(path, parse_value(run_schema().schema_at(path), text), origin);
}

void Assignments::append(const std::string& path, const std::string& item, const std::string& origin) {
  json list = json::array();
  if (const json::json_pointer at = pointer(path); target_.contains(at)) list = target_.at(at);
  if (!list.is_array()) list = json::array({list});
  list.push_back(item);
  assign(path, list, origin);
}

bool Assignments::is_given(const std::string& path) const {
  return target_.contains(pointer(path));
}

json Assignments::effective(const std::string& path) const {
  if (const json::json_pointer at = pointer(path); target_.contains(at)) return target_.at(at);
  return run_schema().schema_at(path)->default_value.value_or(json());
}

void Assignments::set(const std::string& path, const json& value, const std::string& origin) {
  json* at = &target_;
  for (const std::string& part : support::split(path, '.')) {
    if (at->is_null()) *at = json::object();
    if (at->is_array()) {
      at = &list_item(*at, part, path, origin);
    } else if (at->is_object()) {
      at = &(*at)[part];
    } else {
      throw UserError(cat(origin, ": cannot set ", path, " inside ", shown(*at)));
    }
  }
  *at = value;
}

}  // namespace graft::config
