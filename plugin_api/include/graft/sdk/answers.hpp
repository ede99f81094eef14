// SPDX-License-Identifier: Apache-2.0
// graft/sdk/answers.hpp: reading completions: tagged parts and boxes. Linear time on any input.
#ifndef GRAFT_SDK_ANSWERS_HPP
#define GRAFT_SDK_ANSWERS_HPP

#include <graft/reward.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace graft {

// [x1, y1, x2, y2]
using BoxCorners = std::array<double, 4>;

// The text between the last "<tag>" that is closed and the "</tag>" after it; nothing if there is none.
inline std::optional<std::string_view> last_tagged(std::string_view text, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">", close = "</" + std::string(tag) + ">";
  const std::size_t end = text.rfind(close);
  if (end == std::string_view::npos) return std::nullopt;
  const std::size_t begin = text.substr(0, end).rfind(open);
  if (begin == std::string_view::npos) return std::nullopt;
  return text.substr(begin + open.size(), end - begin - open.size());
}

namespace internal {

inline void skip_spaces(std::string_view text, std::size_t& at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r'))
    ++at;
}

// Reads "n, n, n, n]" from just behind a bracket.
inline std::optional<BoxCorners> read_box(std::string_view text, std::size_t at) {
  BoxCorners box{};
  for (std::size_t i = 0; i < box.size(); ++i) {
    skip_spaces(text, at);
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), box[i]);
    if (error != std::errc() || !std::isfinite(box[i])) return std::nullopt;
    at = static_cast<std::size_t>(end - text.data());
    skip_spaces(text, at);
    if (at >= text.size() || text[at] != (i + 1 < box.size() ? ',' : ']')) return std::nullopt;
    ++at;
  }
  return box;
}

}  // namespace internal

// The first list of exactly four numbers in brackets, bare or within JSON: `[1, 2, 3.5, 4]`, `{"bbox_2d": [1,2,3,4]}`.
inline std::optional<BoxCorners> first_box(std::string_view text) {
  for (std::size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at + 1)) {
    if (const auto box = internal::read_box(text, at + 1)) return box;
  }
  return std::nullopt;
}

// Intersection over union of two boxes, in [0, 1]; 0 if a box is empty or turned inside out.
inline double box_iou(const BoxCorners& a, const BoxCorners& b) {
  const double width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
  const double height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  if (width <= 0 || height <= 0 || a[2] <= a[0] || a[3] <= a[1] || b[2] <= b[0] || b[3] <= b[1]) return 0.0;
  const double both = width * height;
  const double either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;
  const double iou = both / either;
  return std::isfinite(iou) ? iou : 0.0;  // coordinates beyond what a double can multiply
}

// Names of GRAFT_SPACE_* for parameters, in that order from GRAFT_SPACE_ORIGINAL_PIXELS on.
inline constexpr std::array<std::string_view, 4> kSpaceNames = {"original_pixels", "processed_pixels",
                                                                "per_mille", "unit"};

// GRAFT_SPACE_* of a name of kSpaceNames; GRAFT_SPACE_NONE for another word.
inline std::int32_t space_from_name(std::string_view name) {
  const auto at = std::find(kSpaceNames.begin(), kSpaceNames.end(), name);
  return at == kSpaceNames.end() ? GRAFT_SPACE_NONE : static_cast<std::int32_t>(at - kSpaceNames.begin()) + 1;
}

// A box of some space in pixels of the original image; nothing if the sizes it takes are unknown.
inline std::optional<BoxCorners> to_original_pixels(const BoxCorners& box, std::int32_t space,
                                                    const graft_image_size& size) {
  double from_width = 1.0, from_height = 1.0;
  if (space == GRAFT_SPACE_ORIGINAL_PIXELS) return box;
  if (space == GRAFT_SPACE_PROCESSED_PIXELS) {
    from_width = static_cast<double>(size.processed_width);
    from_height = static_cast<double>(size.processed_height);
  } else if (space == GRAFT_SPACE_PER_MILLE) {
    from_width = from_height = 1000.0;
  }
  if (from_width <= 0 || from_height <= 0 || size.original_width <= 0 || size.original_height <= 0)
    return std::nullopt;
  const double x = static_cast<double>(size.original_width) / from_width;
  const double y = static_cast<double>(size.original_height) / from_height;
  return BoxCorners{box[0] * x, box[1] * y, box[2] * x, box[3] * y};
}

}  // namespace graft

#endif
