// SPDX-License-Identifier: Apache-2.0
// Qwen2.5-VL (Bai et al. 2025, arXiv:2502.13923), with the arithmetic of transformers'
// Qwen2_5_VLForConditionalGeneration.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <vector>

#include "common/layers.h"
#include "common/qwen_vl.h"
#include "config.h"

namespace qwen2_5_vl {

using graft::Exec;
using graft::PixelsList;
using graft::Tensor;
using graft::TensorList;

class Family final : public families::QwenVlFamily {
 public:
  static constexpr auto name = "qwen2_5_vl";
  static constexpr auto summary = "Qwen2.5-VL: images and text, M-RoPE, vision encoder with window attention";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "Qwen2_5_VLForConditionalGeneration");
  }

  void open(const graft::FamilyFiles& files) override;
  Tensor encode_images(const Exec& exec, const PixelsList& images) const override;

 private:
  struct Block {
    families::BlockSegments segments;
    std::uint32_t norm1, norm2;
    families::VisionAttention attn;
    families::SwiGlu mlp;
    bool full_attention;  // over the whole image instead of windows
  };
  void declare_vision(const families::Module& visual, std::int64_t text_width);
  [[nodiscard]] Block declare_block(const families::Module& visual, std::int64_t index) const;

  // Segment bodies; the tag is the index of the block.
  Tensor block(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const;

  VisionConfig vision_;
  families::PatchEmbed patch_embed_{};
  std::uint32_t merger_norm_ = 0;
  std::vector<Block> blocks_;
  families::PatchMerger merger_{};
  Tensor frequencies_;  // float32 [head_dim / 4], of the encoder's rotary embedding
};

}  // namespace qwen2_5_vl
