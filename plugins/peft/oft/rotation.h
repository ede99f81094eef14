// SPDX-License-Identifier: Apache-2.0
// Block-diagonal rotations and their parameters, the upper triangles [blocks, b (b − 1) / 2] of skew-symmetric blocks Q. All
// tensors float32.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>
#include <vector>

namespace oft {

// The divisor of `features` next to `wanted`, the smaller of two (peft/tuners/oft/layer.py, adjust_oft_parameters()).
[[nodiscard]] std::int64_t nearest_divisor(std::int64_t features, std::int64_t wanted);

// [b²]: where each element of a b × b upper triangle lies in its list with a zero before it; 0 elsewhere.
[[nodiscard]] std::vector<std::int64_t> triangle(std::int64_t size);

// R [blocks, b, b]: the series of that many terms, at least 2, or the exact rotation for 0. `places` as triangle() gives them.
[[nodiscard]] graft::Tensor rotations(const graft::Tensor& weight, const std::vector<std::int64_t>& places,
                                      std::int64_t terms);

// Blocks with ‖Q‖ > eps / √blocks scaled down to that norm.
[[nodiscard]] graft::Tensor projected(const graft::Tensor& weight, double eps);

// A random share of the blocks replaced by the identity. PEFT 0.21 has this option but does not apply it.
[[nodiscard]] graft::Tensor with_dropout(const graft::Tensor& blocks, double share);

// x [T, in] times the block-diagonal matrix of `blocks` [in / b, b, b], or of one [1, b, b] that all share.
[[nodiscard]] graft::Tensor times_blocks(const graft::Tensor& x, const graft::Tensor& blocks);

}  // namespace oft
