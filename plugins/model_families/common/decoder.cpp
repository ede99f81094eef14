// SPDX-License-Identifier: Apache-2.0
#include "common/decoder.h"

#include <cmath>

namespace families {

using graft::DType;
using graft::Exec;
using graft::Tensor;
using graft::TensorList;
namespace ops = graft::ops;

namespace {

// A copy of x with `source` added to its rows `rows`.
Tensor index_add(const Tensor& x, const Tensor& rows, const Tensor& source) {
  static const graft::Op op("aten::index_add");
  return op({x, 0, rows, source});
}

}  // namespace

// ---- declarations -----------------------------------------------------------------------------------------

void DecoderFamily::open_decoder(const TextConfig& text, const Module& model, std::int64_t n_deepstack,
                                 const std::vector<std::string>& head_aliases) {
  text_ = text;
  n_deepstack_ = n_deepstack;
  if (n_deepstack > 0) declare.image_value_size = (1 + n_deepstack) * text.hidden_size;
  embed_tokens_ = model.param("embed_tokens.weight", {text.vocab_size, text.hidden_size});
  for (std::int64_t i = 0; i < text.n_layers; ++i) layers_.push_back(declare_layer(model, i));
  final_norm_ = model.norm("norm", text.hidden_size);
  const std::uint32_t head = text.tie_word_embeddings
                                 ? declare.tied_param("lm_head.weight", embed_tokens_, GRAFT_COMPONENT_HEAD)
                                 : declare.param("lm_head.weight", {text.vocab_size, text.hidden_size},
                                                 GRAFT_COMPONENT_HEAD, head_aliases);
  declare.head_site = declare.site("lm_head", head, -1, GRAFT_COMPONENT_HEAD);

  declare.initializer_range = text.initializer_range;
  declare.vocab_size = text.vocab_size;
  declare.hidden_size = text.hidden_size;
  declare.n_attention_layers = static_cast<std::uint32_t>(text.n_layers);
  declare.position_rank = 1;
  frequencies_ = rotary_frequencies(text.rope, text.head_dim);
  if (!text.rope.mrope_section.empty()) {
    declare.position_rank = 3;
    mrope_rows_ = mrope_rows(text.rope);
  }
}

DecoderFamily::Layer DecoderFamily::declare_layer(const Module& model, std::int64_t index) const {
  const Module layer = model.child("layers." + std::to_string(index));
  const Module attn = layer.child("self_attn"), mlp = layer.child("mlp");
  const std::int64_t width = text_.hidden_size, q_width = text_.q_width(), kv_width = text_.kv_width();

  Layer parts{};
  parts.input_norm = layer.norm("input_layernorm", width);
  parts.q_proj = attn.linear("q_proj", q_width, width, text_.has_qkv_bias);
  parts.k_proj = attn.linear("k_proj", kv_width, width, text_.has_qkv_bias);
  parts.v_proj = attn.linear("v_proj", kv_width, width, text_.has_qkv_bias);
  parts.o_proj = attn.linear("o_proj", width, q_width, text_.has_output_bias);
  if (text_.has_qk_norm) {
    parts.q_norm = attn.norm("q_norm", text_.head_dim);
    parts.k_norm = attn.norm("k_norm", text_.head_dim);
  }
  parts.post_attention_norm = layer.norm("post_attention_layernorm", width);
  parts.mlp = declare_mlp(mlp);
  Cost attn_cost = attention_cost(width, q_width, kv_width, text_.has_qk_norm);
  Cost mlp_part = swiglu_cost(width, text_.intermediate_size);
  if (text_.has_output_norms) {
    parts.attn_output_norm = layer.norm("post_self_attn_layernorm", width);
    parts.mlp_output_norm = layer.norm("post_mlp_layernorm", width);
    attn_cost = both(attn_cost, norm_cost(width));
    mlp_part = both(mlp_part, norm_cost(width));
  }

  parts.segments = BlockSegments::declare(model.declare(), "language.layers." + std::to_string(index),
                                          GRAFT_COMPONENT_LANGUAGE, attn_cost, mlp_part);
  return parts;
}

SwiGlu DecoderFamily::declare_mlp(const Module& mlp) const {
  const std::int64_t width = text_.hidden_size, intermediate = text_.intermediate_size;
  const bool bias = text_.has_mlp_bias;
  SwiGlu parts{};
  parts.is_joined = text_.joins_gate_up;
  if (parts.is_joined) {
    parts.gate_proj = mlp.linear("gate_up_proj", 2 * intermediate, width, bias);
  } else {
    parts.gate_proj = mlp.linear("gate_proj", intermediate, width, bias);
    parts.up_proj = mlp.linear("up_proj", intermediate, width, bias);
  }
  parts.down_proj = mlp.linear("down_proj", width, intermediate, bias);
  return parts;
}

// ---- forward ----------------------------------------------------------------------------------------------

Tensor DecoderFamily::decode(const Exec& exec, const graft::DecodeInput& input) const {
  Tensor hidden = ops::embedding(exec.param(embed_tokens_), input.ids);  // [T, D]
  const auto image_part = [&](std::int64_t part) {                       // [N, D]
    const Tensor columns = ops::narrow(input.image_values, 1, part * text_.hidden_size, text_.hidden_size);
    return ops::to(columns, hidden.dtype());
  };
  if (input.image_values) hidden = ops::index_copy(hidden, 0, input.image_rows, image_part(0));
  const Rotation turn = rotation(input.positions, hidden);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    hidden = exec.segment<&DecoderFamily::layer>(layers_[i].segments.whole, i, {hidden, turn.cos, turn.sin});
    const auto deepstack = static_cast<std::int64_t>(i) + 1;
    if (input.image_values && deepstack <= n_deepstack_) {
      hidden = index_add(hidden, input.image_rows, image_part(deepstack));
    }
  }
  return ops::rms_norm(hidden, exec.param(final_norm_), text_.rms_norm_eps);
}

// Each pair of a head's rotating values turns with the position; with M-RoPE, with that on its section's axis.
Rotation DecoderFamily::rotation(const Tensor& positions, const Tensor& hidden) const {
  const Tensor axes = mrope_rows_ ? ops::index_select(positions, 0, ops::to_device_of(mrope_rows_, hidden))
                                  : positions;  // [d / 2, T], or [1, T]
  const Tensor angles =
      ops::mul(ops::to(ops::t(axes), DType::kFloat32), ops::to_device_of(frequencies_, hidden));
  return rotation_of(angles, hidden.dtype(), text_.rope.scaling.attention_factor,
                     text_.rope.pairs_neighbours);
}

Tensor DecoderFamily::output(const Exec& exec, const Tensor& x, std::uint32_t norm) const {
  return text_.has_output_norms ? rms_norm(x, exec.param(norm), text_.rms_norm_eps) : x;
}

// in: hidden [T, D], cos, sin
Tensor DecoderFamily::layer(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Layer& parts = layers_[index];
  const Tensor hidden =
      exec.segment<&DecoderFamily::layer_attention>(parts.segments.attn, index, {in[0], in[1], in[2]});
  return exec.segment<&DecoderFamily::layer_mlp>(parts.segments.mlp, index, {hidden});
}

// in: hidden [T, D], cos, sin
Tensor DecoderFamily::layer_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Layer& parts = layers_[index];
  const std::int64_t heads = text_.n_heads, kv_heads = text_.n_kv_heads, head_dim = text_.head_dim;
  const double eps = text_.rms_norm_eps;
  const Tensor hidden = in[0];

  const Tensor x = ops::rms_norm(hidden, exec.param(parts.input_norm), eps);
  // Queries and keys turn alike, so they turn together.
  const Tensor projected = ops::cat({exec.linear(parts.q_proj, x), exec.linear(parts.k_proj, x)}, 1);
  Tensor qk = ops::view(projected, {-1, heads + kv_heads, head_dim});
  if (text_.has_qk_norm) {
    const auto [q, k] = ops::split<2>(qk, {heads, kv_heads}, 1);
    qk =
        ops::cat({rms_norm(q, exec.param(parts.q_norm), eps), rms_norm(k, exec.param(parts.k_norm), eps)}, 1);
  }
  const auto [q, k] = ops::split<2>(rotate(qk, in[1], in[2], text_.rope.pairs_neighbours), {heads, kv_heads},
                                    1);  // [T, H, d], [T, Hkv, d]
  const Tensor v = ops::view(exec.linear(parts.v_proj, x), {-1, kv_heads, head_dim});
  const Tensor mixed = exec.attention(static_cast<std::int32_t>(index), q, k, v,
                                      1.0 / std::sqrt(static_cast<double>(head_dim)));  // [T, H, d]
  const Tensor joined = ops::reshape(mixed, {-1, heads * head_dim});
  return hidden + output(exec, exec.linear(parts.o_proj, joined), parts.attn_output_norm);
}

// in: hidden [T, D]
Tensor DecoderFamily::layer_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Layer& parts = layers_[index];
  const Tensor hidden = in[0];
  const Tensor x = ops::rms_norm(hidden, exec.param(parts.post_attention_norm), text_.rms_norm_eps);
  return hidden + output(exec, parts.mlp(exec, x), parts.mlp_output_norm);
}

}  // namespace families
