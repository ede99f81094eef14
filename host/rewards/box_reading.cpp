// SPDX-License-Identifier: Apache-2.0
#include "rewards/box_reading.h"

#include <graft/abi.h>

#include <algorithm>
#include <graft/sdk/answers.hpp>

#include "support/strings.h"

namespace graft::rewards {

namespace {

constexpr double kBeyond = 1.02;  // of the image: rounding and a box a little too large are not another space

graft_image_size size_of(const ImageSize& size) {
  return {size.original_width, size.original_height, size.processed_width, size.processed_height};
}

std::optional<Corners> read_in_pixels(const Corners& box, const Reading& reading, const ImageSize& size) {
  Corners corners = box;
  if (reading.layout == Layout::kYxyx) corners = {box[1], box[0], box[3], box[2]};
  if (reading.layout == Layout::kXywh) corners = {box[0], box[1], box[0] + box[2], box[1] + box[3]};
  if (reading.space != GRAFT_SPACE_UNIT) return to_original_pixels(corners, reading.space, size_of(size));
  if (size.original_width <= 0 || size.original_height <= 0) return std::nullopt;
  const auto width = static_cast<double>(size.original_width),
             height = static_cast<double>(size.original_height);
  return Corners{corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height};
}

std::optional<double> mean_iou(std::span<const BoxPair> pairs, const Reading& reading,
                               std::int32_t solution_space) {
  double sum = 0.0;
  for (const BoxPair& pair : pairs) {
    const auto written = read_in_pixels(pair.written, reading, pair.size);
    const auto expected = read_in_pixels(pair.expected, {solution_space, Layout::kXyxy}, pair.size);
    if (!written || !expected) return std::nullopt;
    sum += box_iou(*written, *expected);
  }
  return sum / static_cast<double>(pairs.size());
}

}  // namespace

std::string describe_space(std::int32_t space) {
  switch (space) {
    case GRAFT_SPACE_ORIGINAL_PIXELS:
      return "pixels of the image file";
    case GRAFT_SPACE_PROCESSED_PIXELS:
      return "pixels of the resized image";
    case GRAFT_SPACE_PER_MILLE:
      return "0 to 1000";
    case GRAFT_SPACE_UNIT:
      return "0 to 1";
    default:
      return "no boxes";
  }
}

std::string describe(const Reading& reading) {
  const char* layout = reading.layout == Layout::kYxyx   ? ", as y1, x1, y2, x2"
                       : reading.layout == Layout::kXywh ? ", as x, y, width, height"
                                                         : "";
  return describe_space(reading.space) + layout;
}

std::vector<ReadingQuality> rank_readings(std::span<const BoxPair> pairs, std::int32_t solution_space) {
  std::vector<ReadingQuality> ranked;
  if (pairs.empty()) return ranked;
  for (const Layout layout : {Layout::kXyxy, Layout::kYxyx, Layout::kXywh}) {
    for (std::int32_t space = GRAFT_SPACE_ORIGINAL_PIXELS; space <= GRAFT_SPACE_UNIT; ++space) {
      const Reading reading{space, layout};
      if (const auto iou = mean_iou(pairs, reading, solution_space)) ranked.push_back({reading, *iou});
    }
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const ReadingQuality& a, const ReadingQuality& b) { return a.mean_iou > b.mean_iou; });
  return ranked;
}

CoordinateRange range_of(std::span<const BoxPair> boxes) {
  CoordinateRange range;
  range.boxes = boxes.size();
  if (boxes.empty()) return range;
  range.least = range.largest = boxes.front().written[0];
  const auto reaches_beyond = [](const Corners& box, std::int64_t width, std::int64_t height) {
    return width > 0 && height > 0 &&
           (std::max(box[0], box[2]) > kBeyond * static_cast<double>(width) ||
            std::max(box[1], box[3]) > kBeyond * static_cast<double>(height));
  };
  std::size_t beyond_file = 0, beyond_resized = 0;
  for (const BoxPair& box : boxes) {
    for (const double value : box.written) {
      range.least = std::min(range.least, value);
      range.largest = std::max(range.largest, value);
    }
    beyond_file += reaches_beyond(box.written, box.size.original_width, box.size.original_height) ? 1 : 0;
    beyond_resized +=
        reaches_beyond(box.written, box.size.processed_width, box.size.processed_height) ? 1 : 0;
  }
  range.outside_file = static_cast<double>(beyond_file) / static_cast<double>(boxes.size());
  range.outside_resized = static_cast<double>(beyond_resized) / static_cast<double>(boxes.size());
  return range;
}

std::optional<std::int32_t> better_space(const CoordinateRange& range, std::int32_t space) {
  constexpr double kMany = 0.25;
  if (range.boxes == 0 || space == GRAFT_SPACE_NONE) return std::nullopt;
  const bool is_unit = range.largest <= kBeyond, is_per_mille = range.largest <= 1000.0 * kBeyond;
  if (space == GRAFT_SPACE_UNIT) {
    if (is_unit) return std::nullopt;
    return is_per_mille && range.outside_file > 0 ? GRAFT_SPACE_PER_MILLE : GRAFT_SPACE_ORIGINAL_PIXELS;
  }
  if (is_unit) return GRAFT_SPACE_UNIT;
  if (space == GRAFT_SPACE_PER_MILLE) {
    if (is_per_mille) return std::nullopt;
    return range.outside_file < kMany ? GRAFT_SPACE_ORIGINAL_PIXELS : GRAFT_SPACE_PROCESSED_PIXELS;
  }
  const double outside = space == GRAFT_SPACE_ORIGINAL_PIXELS ? range.outside_file : range.outside_resized;
  if (outside < kMany) return std::nullopt;
  const double other = space == GRAFT_SPACE_ORIGINAL_PIXELS ? range.outside_resized : range.outside_file;
  if (is_per_mille && other >= kMany) return GRAFT_SPACE_PER_MILLE;
  if (other < kMany)
    return space == GRAFT_SPACE_ORIGINAL_PIXELS ? GRAFT_SPACE_PROCESSED_PIXELS : GRAFT_SPACE_ORIGINAL_PIXELS;
  return std::nullopt;
}

}  // namespace graft::rewards
