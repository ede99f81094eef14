// SPDX-License-Identifier: Apache-2.0
#include "report/boxes.h"

#include <charconv>
#include <cmath>

namespace graft::report {

namespace {

// "1, 2, 3, 4" and nothing else.
std::optional<Corners> parse_corners(std::string_view list) {
  Corners corners{};
  std::size_t at = 0;
  const auto skip_spaces = [&] {
    while (at < list.size() && list[at] == ' ') ++at;
  };
  for (std::size_t i = 0; i < corners.size(); ++i) {
    skip_spaces();
    const auto [end, error] = std::from_chars(list.data() + at, list.data() + list.size(), corners[i]);
    if (error != std::errc() || !std::isfinite(corners[i])) return std::nullopt;
    at = static_cast<std::size_t>(end - list.data());
    skip_spaces();
    const bool is_last = i + 1 == corners.size();
    if (is_last ? at != list.size() : at >= list.size() || list[at++] != ',') return std::nullopt;
  }
  return corners;
}

}  // namespace

std::optional<Corners> last_box(std::string_view text) {
  std::optional<Corners> last;
  std::size_t open = std::string_view::npos;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '[') open = at;
    if (text[at] != ']' || open == std::string_view::npos) continue;
    if (const auto corners = parse_corners(text.substr(open + 1, at - open - 1))) last = corners;
    open = std::string_view::npos;
  }
  return last;
}

}  // namespace graft::report
