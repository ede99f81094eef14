// SPDX-License-Identifier: Apache-2.0
// The language model: grouped-query attention with multimodal rotary embedding, SwiGLU, RMSNorm before each.
#include <cmath>

#include "family.h"
#include "rotary.h"

namespace qwen2_5_vl {

namespace ops = graft::ops;
using graft::DType;

Tensor Family::decode(const Exec& exec, const graft::DecodeInput& input) const {
  Tensor hidden = ops::embedding(exec.param(layout_.embed_tokens), input.ids);  // [T, D]
  const DType dtype = hidden.dtype();
  if (input.image_values) {
    hidden = ops::index_copy(hidden, 0, input.image_rows, ops::to(input.image_values, dtype));
  }

  // Each pair of a head turns with the position on its section's axis.
  const Tensor axes =
      ops::index_select(input.positions, 0, ops::to_device_of(section_rows_, hidden));  // [d / 2, T]
  const Tensor angles =
      ops::mul(ops::to(ops::t(axes), DType::kFloat32), ops::to_device_of(text_frequencies_, hidden));
  const Rotation rotation = rotation_of(angles, dtype);

  for (std::size_t i = 0; i < layout_.layers.size(); ++i) {
    hidden = exec.segment<&Family::layer>(layout_.layers[i].segment, i, {hidden, rotation.cos, rotation.sin});
  }
  return ops::rms_norm(hidden, exec.param(layout_.final_norm), config_.text.rms_norm_eps);
}

// in: hidden [T, D], cos, sin
Tensor Family::layer(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const LayerParts& parts = layout_.layers[index];
  const Tensor hidden =
      exec.segment<&Family::layer_attention>(parts.attn_segment, index, {in[0], in[1], in[2]});
  return exec.segment<&Family::layer_mlp>(parts.mlp_segment, index, {hidden});
}

// in: hidden [T, D], cos, sin
Tensor Family::layer_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const LayerParts& parts = layout_.layers[index];
  const TextConfig& text = config_.text;
  const std::int64_t heads = text.n_heads, kv_heads = text.n_kv_heads, head_dim = text.head_dim;
  const Tensor hidden = in[0];

  const Tensor x = ops::rms_norm(hidden, exec.param(parts.input_norm), text.rms_norm_eps);
  // Queries and keys turn alike, so they turn together.
  const Tensor qk = ops::cat({exec.linear(parts.q_proj, x), exec.linear(parts.k_proj, x)}, 1);
  const Tensor turned = rotate(ops::view(qk, {-1, heads + kv_heads, head_dim}), in[1], in[2]);
  const auto [q, k] = ops::split<2>(turned, {heads, kv_heads}, 1);  // [T, H, d], [T, Hkv, d]
  const Tensor v = ops::view(exec.linear(parts.v_proj, x), {-1, kv_heads, head_dim});
  const Tensor mixed = exec.attention(static_cast<std::int32_t>(index), q, k, v,
                                      1.0 / std::sqrt(static_cast<double>(head_dim)));  // [T, H, d]
  return hidden + exec.linear(parts.o_proj, ops::reshape(mixed, {-1, heads * head_dim}));
}

// in: hidden [T, D]
Tensor Family::layer_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const LayerParts& parts = layout_.layers[index];
  const Tensor hidden = in[0];
  const Tensor x = ops::rms_norm(hidden, exec.param(parts.post_attention_norm), config_.text.rms_norm_eps);
  const Tensor gate = ops::silu(exec.linear(parts.gate_proj, x));
  return hidden + exec.linear(parts.down_proj, gate * exec.linear(parts.up_proj, x));
}

}  // namespace qwen2_5_vl
