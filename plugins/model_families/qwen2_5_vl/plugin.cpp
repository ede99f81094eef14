// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "family.h"

namespace qwen2_5_vl {

void Family::open(const graft::FamilyFiles& files) {
  const families::ConfigFile config(files);
  const families::Section root = config.root();
  const families::TextConfig text = read_text(root);
  vision_ = read_vision(families::vision_section(root), text.hidden_size);
  open_image_tokens(root, files);
  open_preprocessor(files, {}, vision_);
  open_chat(files);
  open_decoder(text, families::language_module(declare));
  declare_vision(families::visual_module(declare), text.hidden_size);
  frequencies_ = families::rotary_frequencies(vision_.rope_theta, vision_.head_dim() / 2);
  declare.grounding_space = GRAFT_SPACE_PROCESSED_PIXELS;
  declare.grounding_format =
      "JSON with the key bbox_2d: corners in pixels of the resized image, "
      "{\"bbox_2d\": [x1, y1, x2, y2], \"label\": \"…\"}";
}

void Family::declare_vision(const families::Module& visual, std::int64_t text_width) {
  patch_embed_ = families::PatchEmbed::declare(visual, vision_, false);
  for (std::int64_t i = 0; i < vision_.depth; ++i) blocks_.push_back(declare_block(visual, i));
  const families::Module merger = visual.child("merger").as(GRAFT_COMPONENT_PROJECTOR);
  merger_norm_ = merger.norm("ln_q", vision_.hidden_size);
  merger_ = families::PatchMerger::declare(merger, vision_, text_width, "mlp.0", "mlp.2");
}

Family::Block Family::declare_block(const families::Module& visual, std::int64_t index) const {
  const families::Module block = visual.child("blocks." + std::to_string(index));
  const families::Module mlp = block.child("mlp");
  const std::int64_t width = vision_.hidden_size, intermediate = vision_.intermediate_size;

  Block parts{};
  parts.norm1 = block.norm("norm1", width);
  parts.norm2 = block.norm("norm2", width);
  parts.attn = families::VisionAttention::declare(block.child("attn"), width);
  parts.mlp.gate_proj = mlp.linear("gate_proj", intermediate, width, true);
  parts.mlp.up_proj = mlp.linear("up_proj", intermediate, width, true);
  parts.mlp.down_proj = mlp.linear("down_proj", width, intermediate, true);
  parts.segments = families::BlockSegments::declare(
      visual.declare(), "vision.blocks." + std::to_string(index), GRAFT_COMPONENT_VISION,
      families::vision_attention_cost(width), families::swiglu_cost(width, intermediate));
  const std::vector<std::int64_t>& full = vision_.full_attention_blocks;
  parts.full_attention = std::find(full.begin(), full.end(), index) != full.end();
  return parts;
}

}  // namespace qwen2_5_vl

GRAFT_PLUGIN(qwen2_5_vl::Family);
