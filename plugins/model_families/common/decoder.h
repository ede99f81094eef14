// SPDX-License-Identifier: Apache-2.0
// The decoder of the Llama pattern, which every family here has: RMSNorm before each part, grouped-query attention with
// rotary positions, SwiGLU; in GLM-4 an RMSNorm behind each part as well.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "common/layers.h"
#include "common/module.h"
#include "common/text_config.h"

namespace families {

// Base class of the families: decode() is written here. A family calls open_decoder() in open().
class DecoderFamily : public graft::ModelFamily {
 public:
  graft::Tensor decode(const graft::Exec& exec, const graft::DecodeInput& input) const override;

 protected:
  // Declares the decoder in `model` (with embed_tokens, layers and norm below it) and the head, fills in what `declare` says
  // of the decoder, and computes the rotary frequencies.
  // With `n_deepstack`, image values have 1 + n_deepstack times the hidden size: the embeddings, and what is added to the image
  // tokens behind each of the first layers (DeepStack, Meng et al. 2024, arXiv:2406.04334).
  // `head_aliases` are other names of lm_head.weight in published files.
  void open_decoder(const TextConfig& text, const Module& model, std::int64_t n_deepstack = 0,
                    const std::vector<std::string>& head_aliases = {});
  [[nodiscard]] const TextConfig& text() const { return text_; }

 private:
  // Indices of a layer's parts: norms are parameters, projections are sites.
  struct Layer {
    BlockSegments segments;
    std::uint32_t input_norm, post_attention_norm;
    std::uint32_t q_proj, k_proj, v_proj, o_proj;
    std::uint32_t q_norm, k_norm;                     // if has_qk_norm
    std::uint32_t attn_output_norm, mlp_output_norm;  // if has_output_norms
    SwiGlu mlp;
  };
  [[nodiscard]] Layer declare_layer(const Module& model, std::int64_t index) const;
  [[nodiscard]] SwiGlu declare_mlp(const Module& mlp) const;
  [[nodiscard]] Rotation rotation(const graft::Tensor& positions, const graft::Tensor& hidden) const;

  // Segment bodies; the tag is the index of the layer.
  graft::Tensor layer(const graft::Exec& exec, std::uint64_t index, const graft::TensorList& in) const;
  graft::Tensor layer_attention(const graft::Exec& exec, std::uint64_t index,
                                const graft::TensorList& in) const;
  graft::Tensor layer_mlp(const graft::Exec& exec, std::uint64_t index, const graft::TensorList& in) const;
  // What a part adds to the stream, of what its last projection gives.
  [[nodiscard]] graft::Tensor output(const graft::Exec& exec, const graft::Tensor& x,
                                     std::uint32_t norm) const;

  TextConfig text_;
  std::int64_t n_deepstack_ = 0;
  std::uint32_t embed_tokens_ = 0, final_norm_ = 0;
  std::vector<Layer> layers_;
  graft::Tensor frequencies_;  // float32 [rotary_dim / 2], of the rotary embedding
  graft::Tensor
      mrope_rows_;  // int64 [rotary_dim / 2], empty without M-RoPE: which row of the positions each pair follows
};

}  // namespace families
