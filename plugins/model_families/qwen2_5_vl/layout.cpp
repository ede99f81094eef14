// SPDX-License-Identifier: Apache-2.0
#include "layout.h"

#include <algorithm>

namespace qwen2_5_vl {
namespace {

using graft::FamilyDeclarations;
using Init = FamilyDeclarations::Init;
using Cost = FamilyDeclarations::SegmentCost;

// Declares under `root` (module path of transformers 5); published files use the shorter `published` instead.
class Module {
 public:
  Module(FamilyDeclarations& declare, std::string root, std::string published, std::int32_t component)
      : declare_(declare), root_(std::move(root)), published_(std::move(published)), component_(component) {}

  [[nodiscard]] Module child(const std::string& path) const {
    return {declare_, root_ + path + ".", published_ + path + ".", component_};
  }
  [[nodiscard]] std::uint32_t param(const std::string& name, std::vector<std::int64_t> sizes,
                                    Init init = Init::kNormal) const {
    return declare_.param(root_ + name, std::move(sizes), component_, {published_ + name}, init);
  }
  [[nodiscard]] std::uint32_t norm(const std::string& name, std::int64_t size) const {
    return param(name + ".weight", {size}, Init::kOnes);
  }
  // A linear layer with its weight and bias.
  [[nodiscard]] std::uint32_t linear(const std::string& name, std::int64_t out, std::int64_t in,
                                     bool has_bias) const {
    const std::uint32_t weight = param(name + ".weight", {out, in});
    std::int32_t bias = -1;
    if (has_bias) bias = static_cast<std::int32_t>(param(name + ".bias", {out}, Init::kZeros));
    return declare_.site(root_ + name, weight, bias, component_);
  }

 private:
  FamilyDeclarations& declare_;
  std::string root_, published_;
  std::int32_t component_;
};

// ---- costs: elements that autograd keeps for one token, and multiply-adds · 2 of the projections ----------

std::uint64_t elements(std::int64_t n) {
  return static_cast<std::uint64_t>(n);
}

// Input, float32 normalisation, q, k, v, their rotated copies, attention output.
Cost attention_cost(std::int64_t width, std::int64_t kv_width) {
  return {elements(3 * width + (width + 2 * kv_width) + (width + kv_width) + width), elements(width),
          elements(2 * (2 * width * width + 2 * width * kv_width))};
}

// Input, float32 normalisation, gate, up, activation, product.
Cost mlp_cost(std::int64_t width, std::int64_t intermediate) {
  return {elements(3 * width + 4 * intermediate), elements(width), elements(2 * 3 * width * intermediate)};
}

Cost both(const Cost& a, const Cost& b) {
  return {a.activation_values_per_token + b.activation_values_per_token, a.input_values_per_token,
          a.flops_per_token + b.flops_per_token};
}

// ---- modules ----------------------------------------------------------------------------------------------

LayerParts declare_layer(const TextConfig& text, const Module& model, std::int64_t index,
                         FamilyDeclarations& declare) {
  const Module layer = model.child("layers." + std::to_string(index));
  const Module attn = layer.child("self_attn"), mlp = layer.child("mlp");
  const std::int64_t width = text.hidden_size, kv_width = text.n_kv_heads * text.head_dim;

  LayerParts parts{};
  parts.input_norm = layer.norm("input_layernorm", width);
  parts.q_proj = attn.linear("q_proj", width, width, true);
  parts.k_proj = attn.linear("k_proj", kv_width, width, true);
  parts.v_proj = attn.linear("v_proj", kv_width, width, true);
  parts.o_proj = attn.linear("o_proj", width, width, false);
  parts.post_attention_norm = layer.norm("post_attention_layernorm", width);
  parts.gate_proj = mlp.linear("gate_proj", text.intermediate_size, width, false);
  parts.up_proj = mlp.linear("up_proj", text.intermediate_size, width, false);
  parts.down_proj = mlp.linear("down_proj", width, text.intermediate_size, false);

  const std::string name = "language.layers." + std::to_string(index);
  const Cost attn_cost = attention_cost(width, kv_width), mlp_part = mlp_cost(width, text.intermediate_size);
  parts.segment = declare.segment(name, -1, GRAFT_COMPONENT_LANGUAGE, both(attn_cost, mlp_part));
  const auto parent = static_cast<std::int32_t>(parts.segment);
  parts.attn_segment = declare.segment(name + ".attn", parent, GRAFT_COMPONENT_LANGUAGE, attn_cost);
  parts.mlp_segment = declare.segment(name + ".mlp", parent, GRAFT_COMPONENT_LANGUAGE, mlp_part);
  return parts;
}

BlockParts declare_block(const VisionConfig& vision, const Module& visual, std::int64_t index,
                         FamilyDeclarations& declare) {
  const Module block = visual.child("blocks." + std::to_string(index));
  const Module attn = block.child("attn"), mlp = block.child("mlp");
  const std::int64_t width = vision.hidden_size;

  BlockParts parts{};
  parts.norm1 = block.norm("norm1", width);
  parts.norm2 = block.norm("norm2", width);
  parts.qkv = attn.linear("qkv", 3 * width, width, true);
  parts.proj = attn.linear("proj", width, width, true);
  parts.gate_proj = mlp.linear("gate_proj", vision.intermediate_size, width, true);
  parts.up_proj = mlp.linear("up_proj", vision.intermediate_size, width, true);
  parts.down_proj = mlp.linear("down_proj", width, vision.intermediate_size, true);
  parts.segment =
      declare.segment("vision.blocks." + std::to_string(index), -1, GRAFT_COMPONENT_VISION,
                      both(attention_cost(width, width), mlp_cost(width, vision.intermediate_size)));
  const std::vector<std::int64_t>& full = vision.full_attention_blocks;
  parts.full_attention = std::find(full.begin(), full.end(), index) != full.end();
  return parts;
}

void declare_vision(const Config& config, FamilyDeclarations& declare, Layout& layout) {
  const VisionConfig& vision = config.vision;
  const Module visual(declare, "model.visual.", "visual.", GRAFT_COMPONENT_VISION);
  layout.patch_embed = visual.param("patch_embed.proj.weight",
                                    {vision.hidden_size, VisionConfig::kChannels, vision.temporal_patch_size,
                                     vision.patch_size, vision.patch_size});
  for (std::int64_t i = 0; i < vision.depth; ++i) {
    layout.blocks.push_back(declare_block(vision, visual, i, declare));
  }
  const Module merger(declare, "model.visual.merger.", "visual.merger.", GRAFT_COMPONENT_PROJECTOR);
  const std::int64_t merged = vision.hidden_size * vision.merge_unit();
  layout.merger_norm = merger.norm("ln_q", vision.hidden_size);
  layout.merger_in = merger.linear("mlp.0", merged, merged, true);
  layout.merger_out = merger.linear("mlp.2", config.text.hidden_size, merged, true);
}

}  // namespace

Layout declare_layout(const Config& config, FamilyDeclarations& declare) {
  const TextConfig& text = config.text;
  const Module model(declare, "model.language_model.", "model.", GRAFT_COMPONENT_LANGUAGE);
  Layout layout{};
  layout.embed_tokens = model.param("embed_tokens.weight", {text.vocab_size, text.hidden_size});
  for (std::int64_t i = 0; i < text.n_layers; ++i)
    layout.layers.push_back(declare_layer(text, model, i, declare));
  layout.final_norm = model.norm("norm", text.hidden_size);

  const std::uint32_t head =
      text.tie_word_embeddings
          ? declare.tied_param("lm_head.weight", layout.embed_tokens, GRAFT_COMPONENT_HEAD)
          : declare.param("lm_head.weight", {text.vocab_size, text.hidden_size}, GRAFT_COMPONENT_HEAD);
  declare.head_site = declare.site("lm_head", head, -1, GRAFT_COMPONENT_HEAD);
  declare_vision(config, declare, layout);

  declare.initializer_range = text.initializer_range;
  declare.vocab_size = text.vocab_size;
  declare.hidden_size = text.hidden_size;
  declare.n_attention_layers = static_cast<std::uint32_t>(text.n_layers);
  declare.position_rank = 3;
  declare.image_token_ids = {config.image_token};
  if (config.video_token >= 0) declare.image_token_ids.push_back(config.video_token);
  declare.grounding_space = GRAFT_SPACE_PROCESSED_PIXELS;
  declare.grounding_format =
      "JSON with the key bbox_2d: corners in pixels of the resized image, "
      "{\"bbox_2d\": [x1, y1, x2, y2], \"label\": \"…\"}";
  return layout;
}

}  // namespace qwen2_5_vl
