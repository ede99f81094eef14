// SPDX-License-Identifier: Apache-2.0
// The words of the command line: special flags, values as text, and what to say about unknown ones.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"

namespace graft::config {

// A flag that stands for something else than the one key with its name in `run_keys.h`.
struct SpecialFlag {
  const char* name;
  const char* meaning;  // for tables: what it sets
};

// In alphabetical order.
[[nodiscard]] const std::vector<SpecialFlag>& special_flags();

// true or false in any case, as Python writes it too; nothing for other words.
[[nodiscard]] std::optional<bool> parse_bool(std::string_view text);

// The JSON value that the text is, else the text itself.
[[nodiscard]] nlohmann::json json_or_text(const std::string& text);

// The value a user means by `text` where `schema` is expected; null stands for a free-form place.
[[nodiscard]] nlohmann::json parse_value(const Schema* schema, const std::string& text);

// The same for a list that is given as several words.
[[nodiscard]] nlohmann::json parse_list(const Schema* schema, const std::vector<std::string>& words);

// Throw the UserError for a name that does not exist, with the nearest one or the reason why it is missing.
[[noreturn]] void unknown_key(const std::string& path, const std::string& origin);
[[noreturn]] void unknown_flag(const std::string& name);

}  // namespace graft::config
