// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in the pairing of GPT-NeoX, where the first half of a head
// rotates with the second, or in that of the paper, where neighbours rotate together, with scaled frequencies for long contexts
// and the multimodal positions of Qwen2-VL (M-RoPE).
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>
#include <vector>

#include "common/rope_scaling.h"
#include "common/section.h"

namespace families {

struct RopeConfig {
  double theta = 10000.0;

  RopeScaling scaling;

  // "dynamic" (NTK): nothing changes up to max_position_embeddings positions, and there are none beyond. How transformers goes on
  // depends on the longest sequence of a batch.
  bool takes_dynamic = false;    // the family offers it and refuses what is longer
  std::int64_t n_positions = 0;  // max_position_embeddings if the files say "dynamic", else 0

  // M-RoPE: rotary pairs that follow the temporal, height and width position; empty for one-dimensional positions.
  std::vector<std::int64_t> mrope_section;
  bool mrope_interleaved = false;  // Qwen3-VL: t h w t h w … instead of one section behind the other

  bool reads_partial_factor =
      false;                    // the family offers heads of which a beginning rotates and the rest does not
  double partial_factor = 1.0;  // partial_rotary_factor: that beginning's part of a head
  bool pairs_neighbours = false;  // values 2i and 2i + 1 rotate together, not i and i + half

  // Values of a head that rotate.
  [[nodiscard]] std::int64_t rotary_dim(std::int64_t head_dim) const {
    return static_cast<std::int64_t>(static_cast<double>(head_dim) * partial_factor);
  }
};

// Reads rope_scaling beside rope_theta (published files) or rope_parameters (transformers 5) of a decoder's section, with the
// type under rope_type or type. `defaults` has what the family's files may leave out; with sections in it the family has M-RoPE.
// Scalings that are not offered are refused by name; "dynamic" is, unless `defaults` takes it.
[[nodiscard]] RopeConfig read_rope(const Section& text, const RopeConfig& defaults, std::int64_t head_dim);

// Cosines and sines to rotate by; one computation serves all layers of a pass.
struct Rotation {
  graft::Tensor cos;  // [T, 1, r], r the values of a head that rotate
  graft::Tensor sin;  // [T, 1, r], negated for the first value of each pair
};

// base^(-2i / size) for i below size / 2, in float32 as transformers computes it. CPU.
[[nodiscard]] graft::Tensor rotary_frequencies(double base, std::int64_t size);
// The same of a decoder's head, scaled as its configuration says.
[[nodiscard]] graft::Tensor rotary_frequencies(const RopeConfig& rope, std::int64_t head_dim);

// int64 [rotary_dim / 2]: the row of the position ids (0 temporal, 1 height, 2 width) that each rotary pair follows.
[[nodiscard]] graft::Tensor mrope_rows(const RopeConfig& rope);

// From float32 angles [T, r / 2]; in `dtype`. Cosines and sines are multiplied by `scale`.
[[nodiscard]] Rotation rotation_of(const graft::Tensor& angles, graft::DType dtype, double scale = 1.0,
                                   bool pairs_neighbours = false);

// x [T, H, d], its first r values rotated: a pair (a, b) becomes (a cos − b sin, b cos + a sin).
[[nodiscard]] graft::Tensor rotate(const graft::Tensor& x, const graft::Tensor& cos, const graft::Tensor& sin,
                                   bool pairs_neighbours = false);

}  // namespace families
