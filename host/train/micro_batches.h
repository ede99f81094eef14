// SPDX-License-Identifier: Apache-2.0
// How the samples of an optimizer step are split into passes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace graft::train {

// `count` neighbours from `first` on.
struct Range {
  std::size_t first = 0, count = 0;
  bool operator==(const Range&) const = default;
};

// Splits items of the given sizes (flat tokens) into passes, greedily and in order: a pass takes the next item as long as it
// then has at most `max_tokens` tokens (null: no limit) and `max_items` items (at least 1). A longer item has a pass of its
// own. The ranges are neighbours and cover all items; no pass is empty.
[[nodiscard]] std::vector<Range> split_micro_batches(std::span<const std::int64_t> tokens,
                                                     std::optional<std::int64_t> max_tokens,
                                                     std::size_t max_items);

}  // namespace graft::train
