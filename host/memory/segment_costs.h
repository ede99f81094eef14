// SPDX-License-Identifier: Apache-2.0
// What segments keep for backward: as the family declares it, and as it is.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace graft::memory {

// Rows of a training pass: flat tokens of the decoder, patches of the vision encoder.
struct PassSize {
  std::int64_t tokens = 0;
  std::int64_t patches = 0;
};

struct SegmentCost {
  std::uint64_t activation_bytes = 0;  // kept if the segment is not recomputed, its children included
  std::uint64_t input_bytes = 0;       // kept if it is
  std::uint64_t forward_flops = 0;
};

// Of each segment of the model, from the family's declarations: those of LoRA on every linear layer, without dropout.
[[nodiscard]] std::vector<SegmentCost> declared_costs(const model::Model& model, const PassSize& size,
                                                      std::int64_t bytes_per_value);

// The same, measured with the adapters that are attached: two passes over a few tokens (and, if vision is trained, over two small
// images) under training's options, whose saved tensors are counted and their sizes extended to `size`. So it holds for each
// strategy, with dropout and in mixed precision. Memory that several segments share counts for the first of them; a frozen vision
// tower keeps nothing. The model's segment hook is removed, the state of random generators restored. Control thread.
[[nodiscard]] std::vector<SegmentCost> measured_costs(model::Model& model, const PassSize& size);

}  // namespace graft::memory
