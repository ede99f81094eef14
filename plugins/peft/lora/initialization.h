// SPDX-License-Identifier: Apache-2.0
// Starts of A [r, in] and B [out, r] that are computed. All in float32; `weight` is W [out, in] in any floating dtype.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>

namespace lora {

struct Factors {
  graft::Tensor a, b;
};

// The r largest singular triplets of W shared out between A and B, s B A ≈ W (Meng et al. 2024, arXiv:2404.02948). `iterations`
// > 0: those of the randomised range finder (Halko et al. 2011, arXiv:0909.4061, algorithm 4.4), with `probe` [r, in] drawn from
// N(0, 1).
[[nodiscard]] Factors pissa(const graft::Tensor& weight, std::int64_t rank, double scale,
                            std::int64_t iterations, const graft::Tensor& probe);

// The first r columns of Q and rows of R of W = Q R (Büyükakyüz 2024, arXiv:2406.01775).
[[nodiscard]] Factors olora(const graft::Tensor& weight, std::int64_t rank);

// Random A and B with B A = 0, from the halves of an orthogonal matrix (https://datta0.github.io/posts/rethink-lora-init/). `a`
// [r, in] and `b` [out, r] are drawn from N(0, 1).
[[nodiscard]] Factors orthogonal(const graft::Tensor& a, const graft::Tensor& b);

}  // namespace lora
