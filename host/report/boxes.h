// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace graft::report {

using Corners = std::array<double, 4>;  // x1, y1, x2, y2

// The last list of four numbers in brackets; nothing if there is none. Linear time.
[[nodiscard]] std::optional<Corners> last_box(std::string_view text);

}  // namespace graft::report
