// SPDX-License-Identifier: Apache-2.0
// JSON as models write it and as Python's json.loads reads it.
#pragma once

#include <graft/sdk/json.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace rewards {

// json.loads(text): RFC 8259 and NaN, Infinity, -Infinity, numbers of any size (1e999 is infinite, whole numbers beyond 64 bits are
// doubles, or texts of their digits if `keep_digits`; of more than 4300 digits an error), nesting up to 900. Nothing where it raises.
[[nodiscard]] std::optional<graft::Json> load_json(std::string_view text, bool keep_digits = false);

// The JSON of an answer: in the first ``` fence (of any language), else (find_bare_json) the first array or object. If it is cut or
// broken, an array of its objects that are whole and flat.
struct FoundJson {
  graft::Json value;
  bool is_repaired = false;  // salvaged from a broken text
};
[[nodiscard]] std::optional<FoundJson> find_json(std::string_view text);
[[nodiscard]] std::optional<FoundJson> find_bare_json(std::string_view text, bool keep_digits = false);

// str(value) of the Python value that json.loads gives.
[[nodiscard]] std::string python_str(const graft::Json& value);

}  // namespace rewards
