// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <graft/sdk/peft.hpp>

namespace peft {

// x itself if it has that dtype.
[[nodiscard]] graft::Tensor in_dtype(const graft::Tensor& x, graft::DType dtype);

// to ← from, of the same shape, on any device.
void assign(const graft::Tensor& to, const graft::Tensor& from);

// x in CPU memory, contiguous.
[[nodiscard]] graft::Tensor on_cpu(const graft::Tensor& x);

// Bᵀ [r, out] of a trained B [out, r], for add_product(): in memory of its own, since through a transposed view autograd forms the
// gradient of B by a product that takes ten times as long (2048 × 1200 × 8 with MKL: 5.0 ms instead of 0.5).
[[nodiscard]] graft::Tensor transposed(const graft::Tensor& b);

// The layer's input in `dtype`, in training with dropout.
[[nodiscard]] graft::Tensor adapter_input(const graft::LinearCall& call, graft::DType dtype, double dropout);

// base + scale · a b for a [T, r] and b [r, out], in one kernel and in a's dtype.
[[nodiscard]] graft::Tensor add_product(const graft::Tensor& base, const graft::Tensor& a,
                                        const graft::Tensor& b, double scale = 1.0);

// base + a ⊙ b with broadcasting, in one kernel.
[[nodiscard]] graft::Tensor add_elementwise(const graft::Tensor& base, const graft::Tensor& a,
                                            const graft::Tensor& b);

}  // namespace peft
