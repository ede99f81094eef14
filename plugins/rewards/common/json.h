// SPDX-License-Identifier: Apache-2.0
// JSON as models write it and as Python's json.loads reads it.
#pragma once

#include <graft/sdk/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rewards {

// One value of a text, read as json.loads reads it: RFC 8259 and NaN, Infinity, -Infinity, numbers of any size (1e999 is
// infinite, whole numbers beyond 64 bits are doubles, of more than 4300 digits an error). Nesting up to 900.
struct JsonAt {
  std::optional<graft::Json> value;
  std::size_t end = 0;  // behind the value, or where reading failed: the next attempt may start there
};
[[nodiscard]] JsonAt read_json(std::string_view text, std::size_t at);

// json.loads(text); nothing where that raises.
[[nodiscard]] std::optional<graft::Json> load_json(std::string_view text);

// The JSON of an answer: in the first ``` fence (of any language), else the first array or object. If it is cut or broken,
// an array of the objects that are whole.
struct FoundJson {
  graft::Json value;
  bool in_fence = false;
  bool is_repaired = false;  // salvaged from a broken text
};
[[nodiscard]] std::optional<FoundJson> find_json(std::string_view text);

// str(value) of the Python value that json.loads gives.
[[nodiscard]] std::string python_str(const graft::Json& value);

}  // namespace rewards
