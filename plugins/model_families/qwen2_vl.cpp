// SPDX-License-Identifier: Apache-2.0
// Qwen2-VL (Wang et al. 2024, arXiv:2409.12191), with the arithmetic of transformers' Qwen2VLForConditionalGeneration: a
// vision transformer with LayerNorm, quick GELU and attention over the whole image before the decoder.
#include <vector>

#include "common/layers.h"
#include "common/qwen_vl.h"

namespace {

using graft::Exec;
using graft::PixelsList;
using graft::Tensor;
using graft::TensorList;

families::VisionConfig read_vision(const families::Section& vision, std::int64_t text_width) {
  families::VisionConfig out;
  out.hidden_size = vision.count("embed_dim", 1280);
  out.intermediate_size = out.hidden_size * vision.count("mlp_ratio", 4);
  families::read_vision_basics(vision, out);
  const std::int64_t width = vision.integer("hidden_size", text_width);  // of the merger's output
  vision.require(width == text_width, "hidden_size",
                 "is " + std::to_string(width) + ", expected the decoder's " + std::to_string(text_width));
  vision.expect("hidden_act", "quick_gelu");
  return out;
}

class Qwen2Vl final : public families::QwenVlFamily {
 public:
  static constexpr auto name = "qwen2_vl";
  static constexpr auto summary = "Qwen2-VL: images and text, M-RoPE, vision encoder with full attention";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "Qwen2VLForConditionalGeneration");
  }

  void open(const graft::FamilyFiles& files) override;
  Tensor encode_images(const Exec& exec, const PixelsList& images) const override;

 private:
  void declare_vision(const families::Module& visual, std::int64_t text_width);
  // Segment bodies; the tag is the index of the block.
  Tensor block(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    const families::BlockSegments& segments = blocks_[index].segments;
    const Tensor hidden =
        exec.segment<&Qwen2Vl::block_attention>(segments.attn, index, {in[0], in[1], in[2], in[3]});
    return exec.segment<&Qwen2Vl::block_mlp>(segments.mlp, index, {hidden});
  }
  Tensor block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    return blocks_[index].attention(exec, in, vision_.n_heads);
  }
  Tensor block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    return blocks_[index].feed_forward(exec, in, families::quick_gelu);
  }

  families::VisionConfig vision_;
  families::PatchEmbed patch_embed_{};
  std::vector<families::VisionBlock> blocks_;
  families::LayerNorm merger_norm_{};
  families::PatchMerger merger_{};
  Tensor frequencies_;  // float32 [head_dim / 4], of the encoder's rotary embedding
};

void Qwen2Vl::open(const graft::FamilyFiles& files) {
  const families::ConfigFile config(files);
  const families::Section root = config.root();
  families::TextConfig defaults;
  defaults.has_qkv_bias = true;
  defaults.rms_norm_eps = 1e-5;
  defaults.rope.theta = 1e6;
  defaults.rope.mrope_section = {16, 24, 24};
  const families::TextConfig text = families::read_text_config(root, defaults);
  vision_ = read_vision(families::vision_section(root), text.hidden_size);
  open_image_tokens(root, files);
  open_preprocessor(files, {}, vision_);
  open_chat(files);
  open_decoder(text, families::language_module(declare));
  declare_vision(families::visual_module(declare), text.hidden_size);
  frequencies_ = families::rotary_frequencies(vision_.rope_theta, vision_.head_dim() / 2);
  declare.grounding_space = GRAFT_SPACE_PER_MILLE;
  declare.grounding_format =
      "box tokens with corners in thousandths of the image's width and height, "
      "<|object_ref_start|>…<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>";
}

void Qwen2Vl::declare_vision(const families::Module& visual, std::int64_t text_width) {
  patch_embed_ = families::PatchEmbed::declare(visual, vision_, false);
  for (std::int64_t i = 0; i < vision_.depth; ++i) {
    // quick GELU keeps its sigmoid as well.
    blocks_.push_back(families::VisionBlock::declare(visual, vision_, i, "fc1", "fc2", /*n_saved=*/3));
  }
  const families::Module merger = visual.child("merger").as(GRAFT_COMPONENT_PROJECTOR);
  merger_norm_ = families::LayerNorm::declare(merger, "ln_q", vision_.hidden_size);
  merger_ = families::PatchMerger::declare(merger, vision_, text_width, "mlp.0", "mlp.2");
}

Tensor Qwen2Vl::encode_images(const Exec& exec, const PixelsList& images) const {
  if (images.size() == 0) throw graft::Error("encode_images was called without images");
  families::PatchGrid grid;
  for (std::uint32_t i = 0; i < images.size(); ++i) grid.add_image(images[i], vision_.merge_size);

  Tensor hidden = patch_embed_(exec, images);  // [P, D]
  const families::Rotation rotation = families::patch_rotation(grid, frequencies_, hidden);
  const Tensor image_ends = Tensor::from(grid.image_ends);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    hidden = exec.segment<&Qwen2Vl::block>(blocks_[i].segments.whole, i,
                                           {hidden, rotation.cos, rotation.sin, image_ends});
  }
  return merger_(exec, merger_norm_(exec, hidden, families::kVisionNormEps));  // [P / m², text width]
}

}  // namespace

GRAFT_PLUGIN(Qwen2Vl);
