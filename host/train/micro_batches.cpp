// SPDX-License-Identifier: Apache-2.0
#include "train/micro_batches.h"

namespace graft::train {

std::vector<Range> split_micro_batches(std::span<const std::int64_t> tokens,
                                       std::optional<std::int64_t> max_tokens, std::size_t max_items) {
  std::vector<Range> ranges;
  std::int64_t pass_tokens = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    // Compared by subtraction, so that no sum can overflow.
    const bool fits = !ranges.empty() && ranges.back().count < max_items &&
                      (!max_tokens || tokens[i] <= *max_tokens - pass_tokens);
    if (fits) {
      ++ranges.back().count;
      pass_tokens += tokens[i];
    } else {
      ranges.push_back({i, 1});
      pass_tokens = tokens[i];
    }
  }
  return ranges;
}

}  // namespace graft::train
