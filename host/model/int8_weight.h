// SPDX-License-Identifier: Apache-2.0
// Frozen linear weights in eight bits: symmetric, one scale for each output row.
#pragma once

#include <ATen/core/Tensor.h>

namespace graft::model {

// W [out, in] ≈ scales ⊙ values, row by row.
struct Int8Weight {
  at::Tensor values;  // int8 [out, in], in [-127, 127]
  at::Tensor scales;  // float32 [out]
};

// Rounds W, of any floating-point dtype, to the nearest multiples of max |row| / 127. A row of zeros stays one.
[[nodiscard]] Int8Weight to_int8(const at::Tensor& weight);
// W as it is computed with, in `dtype`.
[[nodiscard]] at::Tensor from_int8(const Int8Weight& weight, at::ScalarType dtype);

// x Wᵀ + b for x [T, in], in the precision of the caller's autocast scope. W exists in the dtype of the product only while it
// is used, in forward and again in backward; x is not kept. The weight gets no gradient.
[[nodiscard]] at::Tensor int8_linear(const at::Tensor& x, const Int8Weight& weight, const at::Tensor& bias);

}  // namespace graft::model
