// SPDX-License-Identifier: Apache-2.0
// GLM-4.1V (Hong et al. 2025, arXiv:2507.01006), with the arithmetic of transformers' Glm4vForConditionalGeneration: a vision
// transformer with learned positions that are interpolated bicubically to each image, a convolution that joins the patches of
// a token, and GLM-4's decoder with M-RoPE.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <vector>

#include "common/chat.h"
#include "common/chat_template.h"
#include "common/layers.h"
#include "common/mrope_family.h"

namespace {

using families::LayerNorm;
using families::Module;
using families::SwiGlu;
using graft::DType;
using graft::Exec;
using graft::PixelsList;
using graft::Tensor;
using graft::TensorList;
namespace ops = graft::ops;

// ---- config.json ------------------------------------------------------------------------------------------

families::TextConfig read_text(const families::Section& root) {
  families::TextConfig defaults;
  defaults.has_qkv_bias = true;
  defaults.has_output_norms = true;
  defaults.joins_gate_up = true;
  defaults.rms_norm_eps = 1e-5;
  defaults.rope.mrope_section = {8, 12, 12};
  defaults.rope.reads_partial_factor = true;
  defaults.rope.pairs_neighbours = true;
  return families::read_text_config(root, defaults);
}

struct VisionConfig : families::VisionConfig {
  std::int64_t grid_side = 0;     // of the square of learned positions
  std::int64_t merger_width = 0;  // of the merger's hidden layer
  double norm_eps = 1e-5;
  bool has_qkv_bias = false;
};

VisionConfig read_vision(const families::Section& vision, std::int64_t text_width) {
  VisionConfig out;
  out.hidden_size = vision.count("hidden_size");
  out.merger_width = vision.count("intermediate_size");
  families::read_vision_basics(vision, out);
  const std::int64_t side =
      vision.count("image_size", 336);  // of the images that the positions were learned on
  vision.require(side % out.patch_size == 0, "image_size", "is no multiple of patch_size");
  out.grid_side = side / out.patch_size;
  out.norm_eps = vision.number("rms_norm_eps", out.norm_eps);
  out.has_qkv_bias = vision.boolean("attention_bias", out.has_qkv_bias);
  const std::int64_t width = vision.integer("out_hidden_size", text_width);
  vision.require(width == text_width, "out_hidden_size",
                 "is " + std::to_string(width) + ", expected the decoder's " + std::to_string(text_width));
  out.intermediate_size = width;  // the blocks' MLPs are as wide as the decoder
  vision.expect("hidden_act", "silu");
  return out;
}

// ---- chat -------------------------------------------------------------------------------------------------

constexpr const char* kImage = "<|begin_of_image|><|image|><|end_of_image|>";

// Forms (common/chat_template.h) of the template that GLM-4.1V was published with, and of the fixture's, which writes the same.
constexpr std::uint64_t kOwnTemplates[] = {0xd7aef65b6b167163, 0x4d1b28e0d694da1e};

bool is_own_template(std::string_view chat_template) {
  const std::uint64_t form = families::read_template(chat_template).fingerprint;
  return std::find(std::begin(kOwnTemplates), std::end(kOwnTemplates), form) != std::end(kOwnTemplates);
}

// ---- the family -------------------------------------------------------------------------------------------

class Glm4v final : public families::MropeFamily {
 public:
  static constexpr auto name = "glm4v";
  static constexpr auto summary = "GLM-4.1V: images and text, M-RoPE, vision encoder with bicubic positions";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "Glm4vForConditionalGeneration");
  }

  void open(const graft::FamilyFiles& files) override;
  std::string render(const graft::Json& messages, bool add_generation_prompt) const override;
  Tensor encode_images(const Exec& exec, const PixelsList& images) const override;

 private:
  struct Block {
    families::BlockSegments segments;
    std::uint32_t norm1, norm2;
    families::VisionAttention attn;
    SwiGlu mlp;
  };
  struct Merger {
    std::uint32_t downsample_weight, downsample_bias;
    std::uint32_t proj;
    LayerNorm norm;
    SwiGlu mlp;
  };
  void declare_vision(const Module& visual, std::int64_t text_width);
  [[nodiscard]] Block declare_block(const Module& visual, std::int64_t index) const;
  [[nodiscard]] Merger declare_merger(const Module& visual, std::int64_t text_width) const;

  [[nodiscard]] Tensor positions_of(const Exec& exec, const families::PatchGrid& grid,
                                    const PixelsList& images) const;
  // Segment bodies; the tag is the index of the block.
  Tensor block(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  Tensor block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const;
  [[nodiscard]] Tensor merge(const Exec& exec, const Tensor& patches) const;
  [[nodiscard]] Tensor norm(const Exec& exec, const Tensor& x, std::uint32_t weight) const {
    return families::rms_norm(x, exec.param(weight), vision_.norm_eps);
  }

  VisionConfig vision_;
  families::PatchEmbed patch_embed_{};
  std::uint32_t patch_norm_ = 0, positions_ = 0, last_norm_ = 0;
  std::vector<Block> blocks_;
  Merger merger_{};
  Tensor frequencies_;  // float32 [head_dim / 4], of the encoder's rotary embedding
};

void Glm4v::open(const graft::FamilyFiles& files) {
  const families::ConfigFile config(files);
  const families::Section root = config.root();
  const families::TextConfig text = read_text(root);
  vision_ = read_vision(families::vision_section(root), text.hidden_size);
  open_image_tokens(root, files, {"<|image|>", "<|video|>"});
  families::ImageConfig image;
  image.min_pixels = 112 * 112;
  image.max_pixels = 28 * 28 * 15000;
  image.counted_frames = vision_.temporal_patch_size;
  image.enlarges_short_sides = true;
  open_preprocessor(files, image, vision_);
  if (!files.chat_template().empty() && !is_own_template(files.chat_template())) {
    families::refuse_template(
        files, "it is not the one of GLM-4.1V (turns behind [gMASK]<sop>, their text as it is)");
  }
  open_decoder(text, families::language_module(declare));
  declare_vision(families::visual_module(declare), text.hidden_size);
  frequencies_ = families::rotary_frequencies(vision_.rope_theta, vision_.head_dim() / 2);
  declare.grounding_space = GRAFT_SPACE_PER_MILLE;
  declare.grounding_format =
      "box tokens with corners in thousandths of the image's width and height, "
      "<|begin_of_box|>[x1,y1,x2,y2]<|end_of_box|>";
}

// A turn has no end but the next one's beginning.
std::string Glm4v::render(const graft::Json& messages, bool add_generation_prompt) const {
  std::string out = "[gMASK]<sop>";
  for (const graft::Json& message : messages.items()) {
    const std::string& role = message.at("role").as_string();
    if (role != "system" && role != "user" && role != "assistant") {
      throw graft::Error(GRAFT_E_UNSUPPORTED,
                         "a message has the role \"" + role +
                             "\", and GLM-4.1V's chat template leaves such messages out; "
                             "expected system, user or assistant");
    }
    out += "<|" + role + "|>\n" + families::content_of(message, {kImage, {}});
  }
  if (add_generation_prompt) out += "<|assistant|>\n";
  return out;
}

// ---- declarations of the encoder --------------------------------------------------------------------------

void Glm4v::declare_vision(const Module& visual, std::int64_t text_width) {
  const std::int64_t width = vision_.hidden_size;
  patch_embed_ = families::PatchEmbed::declare(visual, vision_, true);
  patch_norm_ = visual.norm("post_conv_layernorm", width);
  positions_ =
      visual.param("embeddings.position_embedding.weight", {vision_.grid_side * vision_.grid_side, width});
  for (std::int64_t i = 0; i < vision_.depth; ++i) blocks_.push_back(declare_block(visual, i));
  last_norm_ = visual.norm("post_layernorm", width);
  merger_ = declare_merger(visual.as(GRAFT_COMPONENT_PROJECTOR), text_width);
}

SwiGlu declare_swiglu(const Module& mlp, std::int64_t width, std::int64_t intermediate) {
  SwiGlu parts{};
  parts.gate_proj = mlp.linear("gate_proj", intermediate, width, false);
  parts.up_proj = mlp.linear("up_proj", intermediate, width, false);
  parts.down_proj = mlp.linear("down_proj", width, intermediate, false);
  return parts;
}

Glm4v::Block Glm4v::declare_block(const Module& visual, std::int64_t index) const {
  const std::string path = "blocks." + std::to_string(index);
  const Module module = visual.child(path);
  const std::int64_t width = vision_.hidden_size;
  Block parts{};
  parts.norm1 = module.norm("norm1", width);
  parts.norm2 = module.norm("norm2", width);
  parts.attn = families::VisionAttention::declare(module.child("attn"), width, vision_.has_qkv_bias, false);
  parts.mlp = declare_swiglu(module.child("mlp"), width, vision_.intermediate_size);
  parts.segments = families::BlockSegments::declare(
      visual.declare(), "vision." + path, GRAFT_COMPONENT_VISION, families::vision_attention_cost(width),
      families::swiglu_cost(width, vision_.intermediate_size));
  return parts;
}

Glm4v::Merger Glm4v::declare_merger(const Module& visual, std::int64_t text_width) const {
  const std::int64_t side = vision_.merge_size;
  const Module merger = visual.child("merger");
  Merger parts{};
  parts.downsample_weight = visual.param("downsample.weight", {text_width, vision_.hidden_size, side, side});
  parts.downsample_bias = visual.param("downsample.bias", {text_width}, Module::Init::kZeros);
  parts.proj = merger.linear("proj", text_width, text_width, false);
  parts.norm = LayerNorm::declare(merger, "post_projection_norm", text_width);
  parts.mlp = declare_swiglu(merger, text_width, vision_.merger_width);
  return parts;
}

// ---- the encoder's arithmetic -----------------------------------------------------------------------------

Tensor Glm4v::encode_images(const Exec& exec, const PixelsList& images) const {
  if (images.size() == 0) throw graft::Error("encode_images was called without images");
  families::PatchGrid grid;
  for (std::uint32_t i = 0; i < images.size(); ++i) grid.add_image(images[i], vision_.merge_size);

  Tensor hidden = norm(exec, patch_embed_(exec, images), patch_norm_);  // [P, D]
  const families::Rotation rotation = families::patch_rotation(grid, frequencies_, hidden);
  hidden = hidden + ops::to(positions_of(exec, grid, images), hidden.dtype());
  const Tensor image_ends = Tensor::from(grid.image_ends);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    hidden = exec.segment<&Glm4v::block>(blocks_[i].segments.whole, i,
                                         {hidden, rotation.cos, rotation.sin, image_ends});
  }
  return merge(exec, norm(exec, hidden, last_norm_));  // [P / m², text width]
}

// The learned position of every patch, [P, D] in float32: the square of them stretched over the image.
Tensor Glm4v::positions_of(const Exec& exec, const families::PatchGrid& grid,
                           const PixelsList& images) const {
  static const graft::Op grid_sampler("aten::grid_sampler");
  constexpr int kBicubic = 2, kBorder = 1;
  std::vector<float> places;  // of a patch's middle: x and y, −1 to 1 from edge to edge
  std::size_t patch = 0;
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    const auto height = static_cast<float>(images[i].grid[1]), width = static_cast<float>(images[i].grid[2]);
    for (; patch < static_cast<std::size_t>(grid.image_ends[i]); ++patch) {
      places.push_back((grid.columns[patch] + 0.5F) / width * 2.0F - 1.0F);
      places.push_back((grid.rows[patch] + 0.5F) / height * 2.0F - 1.0F);
    }
  }
  const auto n = static_cast<std::int64_t>(patch), side = vision_.grid_side, channels = vision_.hidden_size;
  const Tensor learned =
      ops::to(ops::view(exec.param(positions_), {1, side, side, channels}), DType::kFloat32);
  const Tensor at =
      ops::to_device_of(Tensor::from_data(DType::kFloat32, {1, n, 1, 2}, places.data()), learned);
  const Tensor sampled =
      grid_sampler({ops::permute(learned, {0, 3, 1, 2}), at, kBicubic, kBorder, false});  // [1, D, P, 1]
  return ops::t(ops::view(sampled, {channels, n}));
}

// in: hidden [P, D], cos, sin, block ends
Tensor Glm4v::block(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const families::BlockSegments& segments = blocks_[index].segments;
  const Tensor hidden =
      exec.segment<&Glm4v::block_attention>(segments.attn, index, {in[0], in[1], in[2], in[3]});
  return exec.segment<&Glm4v::block_mlp>(segments.mlp, index, {hidden});
}

// in: hidden [P, D], cos, sin, block ends
Tensor Glm4v::block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Block& parts = blocks_[index];
  const Tensor hidden = in[0];
  return hidden + parts.attn(exec, norm(exec, hidden, parts.norm1), {in[1], in[2]}, in[3], vision_.n_heads);
}

// in: hidden [P, D]
Tensor Glm4v::block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Block& parts = blocks_[index];
  const Tensor hidden = in[0];
  return hidden + parts.mlp(exec, norm(exec, hidden, parts.norm2));
}

// The convolution over the patches of a token, [W, D, m, m], is a matrix product; then the merger.
Tensor Glm4v::merge(const Exec& exec, const Tensor& patches) const {
  constexpr double kMergerNormEps = 1e-5;
  const std::int64_t values = vision_.merge_unit() * vision_.hidden_size;
  const Tensor kernel = ops::reshape(ops::permute(exec.param(merger_.downsample_weight), {0, 2, 3, 1}),
                                     {-1, values});  // as the patches of a token lie: row, column, channel
  const Tensor tokens =
      ops::linear(ops::view(patches, {-1, values}), kernel, exec.param(merger_.downsample_bias));
  const Tensor projected = merger_.norm(exec, exec.linear(merger_.proj, tokens), kMergerNormEps);
  return merger_.mlp(exec, ops::gelu(projected));
}

}  // namespace

GRAFT_PLUGIN(Glm4v);
