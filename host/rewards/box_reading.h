// SPDX-License-Identifier: Apache-2.0
// In which coordinates does a model write boxes? Told by which reading comes nearest to the reference boxes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rewards/rewards.h"

namespace graft::rewards {

using Corners = std::array<double, 4>;

enum class Layout { kXyxy, kYxyx, kXywh };  // order of the four numbers

// One way to read four numbers.
struct Reading {
  std::int32_t space = 0;  // GRAFT_SPACE_*
  Layout layout = Layout::kXyxy;

  bool operator==(const Reading&) const = default;
};

// "pixels of the image file", "0 to 1000, as y1, x1, y2, x2" …
[[nodiscard]] std::string describe(const Reading& reading);
[[nodiscard]] std::string describe_space(std::int32_t space);

// A box of a completion beside that of its solution, both as written, and the sizes of the image.
struct BoxPair {
  Corners written{}, expected{};
  ImageSize size;
};

struct ReadingQuality {
  Reading reading;
  double mean_iou = 0.0;
};

// Every reading with the mean IoU that it gives, best first; expected boxes are read in `solution_space`. Readings that need
// unknown sizes are left out; none without pairs.
[[nodiscard]] std::vector<ReadingQuality> rank_readings(std::span<const BoxPair> pairs,
                                                        std::int32_t solution_space);

// What the numbers alone give away.
struct CoordinateRange {
  double least = 0.0, largest = 0.0;
  double outside_file = 0.0,
         outside_resized = 0.0;  // shares of boxes that reach beyond the image by more than 2 %
  std::size_t boxes = 0;
};

[[nodiscard]] CoordinateRange range_of(std::span<const BoxPair> boxes);

// Whether boxes in `space` can have such a range; then nothing, else the space that fits better.
[[nodiscard]] std::optional<std::int32_t> better_space(const CoordinateRange& range, std::int32_t space);

}  // namespace graft::rewards
