// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/attention.h"
#include "model/model.h"

namespace graft::model {

// A prompt, and the tokens of each completion that a pass runs over.
struct PackedSequences {
  const Prompt* prompt = nullptr;
  at::Tensor image_values;  // features of the prompt's images [n, D], undefined if it has none
  std::vector<std::span<const std::int64_t>> completions;
};

// The decoder's input for groups laid out as packed_attention() expects them: per group the prompt, then each
// completion, whose token j stands at position next_position + j. Throws UserError if image features do not
// match a prompt.
[[nodiscard]] DecoderInput pack_input(std::span<const PackedSequences> groups, std::uint32_t position_rank);

// The lengths of the same groups.
[[nodiscard]] std::vector<PackedGroup> packed_groups(std::span<const PackedSequences> groups);

}  // namespace graft::model
