// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

namespace graft::objective {

// The entropy from which on a token belongs to the share `top` (0 < top <= 1) of highest entropy: the (1 - top) quantile, linear
// between neighbours, of all entropies given, flat float32 tensors ("Beyond the 80/20 Rule", Wang et al. 2025,
// arXiv:2506.01939; torch.quantile as in TRL). Infinity if there is no token.
[[nodiscard]] double entropy_threshold(std::span<const at::Tensor> entropies, double top);

}  // namespace graft::objective
