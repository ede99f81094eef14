// SPDX-License-Identifier: Apache-2.0
// Qwen2.5-VL (Bai et al. 2025, arXiv:2502.13923), with the arithmetic of transformers'
// Qwen2_5_VLForConditionalGeneration.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "config.h"
#include "layout.h"

namespace qwen2_5_vl {

using graft::Exec;
using graft::PixelsList;
using graft::Tensor;
using graft::TensorList;

class Family final : public graft::ModelFamily {
 public:
  static constexpr auto name = "qwen2_5_vl";
  static constexpr auto summary = "Qwen2.5-VL: images and text, M-RoPE, vision encoder with window attention";
  static bool probe(const graft::Json& config);

  void open(const graft::FamilyFiles& files) override;

  // prompt.cpp
  std::string render(const graft::Json& messages, bool add_generation_prompt) const override;
  std::vector<std::int64_t> expand(const std::int64_t* ids, std::size_t n,
                                   const PixelsList& images) const override;
  graft::PromptPositions positions(const std::int64_t* ids, std::size_t n,
                                   const PixelsList& images) const override;
  // image.cpp
  graft::Pixels preprocess(const graft_image& image) const override;
  // vision.cpp
  Tensor encode_images(const Exec& exec, const PixelsList& images) const override;
  // decoder.cpp
  Tensor decode(const Exec& exec, const graft::DecodeInput& input) const override;

 private:
  // Segment bodies; the tag is the index of the block or layer.
  Tensor vision_block(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor layer(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor layer_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor layer_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const;

  Tensor embed_patches(const Exec& exec, const PixelsList& images) const;
  Tensor merge(const Exec& exec, const Tensor& hidden) const;

  Config config_;
  Layout layout_{};
  Tensor text_frequencies_;    // float32 [head_dim / 2], of the rotary embedding
  Tensor section_rows_;        // int64 [head_dim / 2]: which row of the positions each pair follows
  Tensor vision_frequencies_;  // float32 [vision head_dim / 4]
};

}  // namespace qwen2_5_vl
