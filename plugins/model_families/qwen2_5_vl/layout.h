// SPDX-License-Identifier: Apache-2.0
// Parameters, sites and segments of a Qwen2.5-VL model, declared under the module paths of transformers 5.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "config.h"

namespace qwen2_5_vl {

// Indices of a decoder layer's parts: norms are parameters, projections are sites.
struct LayerParts {
  std::uint32_t segment, attn_segment, mlp_segment;
  std::uint32_t input_norm, post_attention_norm;
  std::uint32_t q_proj, k_proj, v_proj, o_proj;
  std::uint32_t gate_proj, up_proj, down_proj;
};

struct BlockParts {
  std::uint32_t segment;
  std::uint32_t norm1, norm2;
  std::uint32_t qkv, proj;
  std::uint32_t gate_proj, up_proj, down_proj;
  bool full_attention;  // over the whole image instead of windows
};

struct Layout {
  std::uint32_t embed_tokens, final_norm;
  std::vector<LayerParts> layers;
  std::uint32_t patch_embed;
  std::vector<BlockParts> blocks;
  std::uint32_t merger_norm, merger_in, merger_out;
};

// Fills `declare` and returns where everything is.
[[nodiscard]] Layout declare_layout(const Config& config, graft::FamilyDeclarations& declare);

}  // namespace qwen2_5_vl
