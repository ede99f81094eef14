// SPDX-License-Identifier: Apache-2.0
// Arithmetic that decoders and vision encoders share.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>

namespace families {

// RMSNorm and LayerNorm over the last dimension, in the dtype of the weight. Under autocast a stream that starts with a product
// is narrower than that, and the fused kernels take one dtype.
[[nodiscard]] graft::Tensor rms_norm(const graft::Tensor& x, const graft::Tensor& weight, double eps);
[[nodiscard]] graft::Tensor layer_norm(const graft::Tensor& x, const graft::Tensor& weight,
                                       const graft::Tensor& bias, double eps);

// x · sigmoid(1.702 x), the activation of CLIP.
[[nodiscard]] graft::Tensor quick_gelu(const graft::Tensor& x);

// down(silu(gate(x)) · up(x)) over three sites (Shazeer 2020, arXiv:2002.05202), or over two.
struct SwiGlu {
  std::uint32_t gate_proj, up_proj, down_proj;
  bool is_joined;  // gate_proj has both, the gate's rows before those of up; up_proj is not used
  [[nodiscard]] graft::Tensor operator()(const graft::Exec& exec, const graft::Tensor& x) const;
};

}  // namespace families
