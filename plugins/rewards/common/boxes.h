// SPDX-License-Identifier: Apache-2.0
// Boxes in any notation that models write, and what a completion looks like. Linear in the text.
#pragma once

#include <graft/sdk/answers.hpp>
#include <graft/sdk/reward.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rewards {

struct FoundBox {
  graft::BoxCorners corners{};     // as written
  std::uint32_t notation = 0;      // one of GRAFT_BOX_*
  bool has_fraction = false;       // a coordinate with a decimal point or an exponent
  bool is_full_width = false;      // Chinese punctuation
  std::size_t begin = 0, end = 0;  // bytes of its brackets
};

// The boxes of a text from left to right:
//   [x1, y1, x2, y2]                         GRAFT_BOX_LIST, whatever is around it: JSON, a fence, prose
//   (x1,y1),(x2,y2)                          GRAFT_BOX_CORNERS; with or without the comma between
//   <|box_start|>(x1,y1),(x2,y2)<|box_end|>  GRAFT_BOX_TOKENS
//   <box>[[x1, y1, x2, y2]]</box>            GRAFT_BOX_TAG
// Whole and decimal numbers, white space, and full-width brackets and commas are read everywhere.
class BoxReader {
 public:
  explicit BoxReader(std::string_view text) : text_(text) {}
  bool next(FoundBox& box);

 private:
  bool read_list(std::size_t open_size, FoundBox& box) const;
  bool read_corners(std::size_t open_size, FoundBox& box) const;
  void pass_tag();
  std::string_view text_;
  std::size_t at_ = 0;
  bool in_tokens_ = false, in_tag_ = false;
};

// The first or last box in one of the `notations` (GRAFT_BOX_*).
[[nodiscard]] std::optional<FoundBox> find_box(std::string_view text, std::uint32_t notations, bool last);

constexpr std::uint32_t kAllNotations = GRAFT_BOX_LIST | GRAFT_BOX_CORNERS | GRAFT_BOX_TOKENS | GRAFT_BOX_TAG;

// "(x1,y1),(x2,y2)" and the like: for messages.
[[nodiscard]] const char* notation_name(std::uint32_t notation);

// A JSON key such as "bbox_2d" whose value the box at `begin` is or is part of; empty if there is none.
[[nodiscard]] std::string key_before(std::string_view text, std::size_t begin);

// What is in a completion: tags, JSON, fences, boxes. Boxes are looked for in the raw completion if it is known, because
// special tokens belong to some notations.
[[nodiscard]] graft::Observation observe(const graft::RewardItem& item);

// Pixels of the original image from `space`, for the sample's first image; nothing if its sizes are unknown.
[[nodiscard]] std::optional<graft::BoxCorners> in_pixels(const graft::BoxCorners& box, std::int32_t space,
                                                         const graft::RewardItem& item);

// Generalised IoU (Rezatofighi et al. 2019), in [-1, 1]; -1 if a box is empty or turned inside out.
[[nodiscard]] double box_giou(const graft::BoxCorners& a, const graft::BoxCorners& b);

}  // namespace rewards
