// SPDX-License-Identifier: Apache-2.0
// Layers whose weight W + ΔW(W, p) has no cheaper form than the matrix itself. It is computed twice, in forward and in backward, so
// that no copy of the size of W stays in memory between the two.
#pragma once

#include <graft/sdk/peft.hpp>

#include <vector>

namespace peft {

using Tensors = std::vector<graft::Tensor>;

// A ΔW and its derivative. Both on any thread, without gradients being recorded; W [out, in] in the model's dtype, the parameters
// p in float32.
class WeightUpdate {
 public:
  virtual ~WeightUpdate() = default;
  // A new tensor [out, in] in float32.
  [[nodiscard]] virtual graft::Tensor delta(const graft::Tensor& weight, const Tensors& params) const = 0;
  // Of each of p, given that of ΔW in float32.
  [[nodiscard]] virtual Tensors gradients(const graft::Tensor& weight, const Tensors& params,
                                          const graft::Tensor& grad_delta) const = 0;
};

// x (W + ΔW)ᵀ + b with one matrix product if everything is float32 and nothing is dropped; otherwise x Wᵀ + b + drop(x) ΔWᵀ, so that
// a small ΔW is not lost in a rounded W. p are the site's parameters, then `constants`, which get no gradients. `update` outlives the graph: it belongs to the strategy, or is static.
[[nodiscard]] graft::Tensor updated_linear(const graft::LinearCall& call, const WeightUpdate& update,
                                           double dropout, const Tensors& constants = {});

}  // namespace peft
