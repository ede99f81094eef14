// SPDX-License-Identifier: Apache-2.0
// Qwen3-VL, dense (Bai et al. 2025, arXiv:2511.21631), with the arithmetic of transformers' Qwen3VLForConditionalGeneration: a
// vision transformer with learned positions that are interpolated to each image, features of several of its depths fed to the
// first decoder layers (DeepStack), and Qwen3's decoder with interleaved M-RoPE.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common/qwen_vl.h"

namespace {

using families::LayerNorm;
using families::PatchMerger;
using graft::Exec;
using graft::PixelsList;
using graft::Tensor;
using graft::TensorList;
namespace ops = graft::ops;

struct VisionConfig : families::VisionConfig {
  std::int64_t grid_side = 0;                  // of the square of learned positions
  std::vector<std::int64_t> deepstack_blocks;  // whose output goes to decoder layer 0, 1, …
};

VisionConfig read_vision(const families::Section& vision, std::int64_t text_width) {
  VisionConfig out;
  out.patch_size = 16;
  out.hidden_size = vision.count("hidden_size");
  out.intermediate_size = vision.count("intermediate_size");
  families::read_vision_basics(vision, out);
  const std::int64_t positions = vision.count("num_position_embeddings", 2304);
  out.grid_side = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(positions))));
  vision.require(out.grid_side * out.grid_side == positions, "num_position_embeddings",
                 "is " + std::to_string(positions) + ", expected a square number");
  out.deepstack_blocks = vision.integers("deepstack_visual_indexes", {8, 16, 24});
  for (const std::int64_t block : out.deepstack_blocks) {
    vision.require(
        block >= 0 && block < out.depth, "deepstack_visual_indexes",
        "has " + std::to_string(block) + ", expected blocks below depth " + std::to_string(out.depth));
  }
  vision.require(std::is_sorted(out.deepstack_blocks.begin(), out.deepstack_blocks.end()),
                 "deepstack_visual_indexes", "does not ascend");
  const std::int64_t width = vision.integer("out_hidden_size", text_width);
  vision.require(width == text_width, "out_hidden_size",
                 "is " + std::to_string(width) + ", expected the decoder's " + std::to_string(text_width));
  vision.expect("hidden_act", "gelu_pytorch_tanh");
  return out;
}

// What every position of a grid is mixed from: four learned positions and their weights, bilinearly, corners on corners.
struct Interpolation {
  std::vector<std::int64_t> indices;  // [P, 4]
  std::vector<float> weights;         // [P, 4]

  void add(float row, std::int64_t height, float column, std::int64_t width, std::int64_t side) {
    const Axis y(row, height, side), x(column, width, side);
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        indices.push_back(y.index[i] * side + x.index[j]);
        weights.push_back(y.weight[i] * x.weight[j]);
      }
    }
  }

 private:
  struct Axis {
    Axis(float place, std::int64_t size, std::int64_t side) {
      const float at =
          place * static_cast<float>(side - 1) / static_cast<float>(std::max<std::int64_t>(size - 1, 1));
      const float floor = std::floor(at);
      index[0] = static_cast<std::int64_t>(floor);
      index[1] = std::min(index[0] + 1, side - 1);
      weight[1] = at - floor;
      weight[0] = 1.0F - weight[1];
    }
    std::int64_t index[2];
    float weight[2];
  };
};

Tensor gelu_tanh(const Tensor& x) {
  return ops::gelu(x, "tanh");
}

class Qwen3Vl final : public families::QwenVlFamily {
 public:
  static constexpr auto name = "qwen3_vl";
  static constexpr auto summary = "Qwen3-VL, dense: images and text, interleaved M-RoPE, DeepStack";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "Qwen3VLForConditionalGeneration");
  }

  void open(const graft::FamilyFiles& files) override;
  Tensor encode_images(const Exec& exec, const PixelsList& images) const override;

 private:
  void declare_vision(const families::Module& visual, std::int64_t text_width);
  [[nodiscard]] Tensor positions_of(const Exec& exec, const families::PatchGrid& grid,
                                    const PixelsList& images, const Tensor& like) const;

  // Segment bodies; the tag is the index of the block.
  Tensor block(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    const families::BlockSegments& segments = blocks_[index].segments;
    const Tensor hidden =
        exec.segment<&Qwen3Vl::block_attention>(segments.attn, index, {in[0], in[1], in[2], in[3]});
    return exec.segment<&Qwen3Vl::block_mlp>(segments.mlp, index, {hidden});
  }
  Tensor block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    return blocks_[index].attention(exec, in, vision_.n_heads);
  }
  Tensor block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    return blocks_[index].feed_forward(exec, in, gelu_tanh);
  }

  struct Merger {
    LayerNorm norm;
    PatchMerger layers;
  };

  VisionConfig vision_;
  families::PatchEmbed patch_embed_{};
  std::uint32_t pos_embed_ = 0;
  std::vector<families::VisionBlock> blocks_;
  Merger merger_{};
  std::vector<Merger> deepstack_mergers_;
  Tensor frequencies_;  // float32 [head_dim / 4], of the encoder's rotary embedding
};

void Qwen3Vl::open(const graft::FamilyFiles& files) {
  const families::ConfigFile config(files);
  const families::Section root = config.root();
  families::TextConfig defaults;
  defaults.head_dim = 128;
  defaults.has_qk_norm = true;
  defaults.reads_biases = true;
  defaults.rope.theta = 5e5;
  defaults.rope.mrope_section = {24, 20, 20};
  defaults.rope.mrope_interleaved = true;
  const families::TextConfig text = families::read_text_config(root, defaults);
  vision_ = read_vision(families::vision_section(root), text.hidden_size);
  open_image_tokens(root, files);
  const families::ImageConfig image{256 * 256, 4096 * 4096, 1.0 / 255.0, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}};
  open_preprocessor(files, image, vision_);
  chat_ = {};  // without a system message
  open_chat(files);
  open_decoder(text, families::language_module(declare),
               static_cast<std::int64_t>(vision_.deepstack_blocks.size()));
  declare_vision(families::visual_module(declare), text.hidden_size);
  frequencies_ = families::rotary_frequencies(vision_.rope_theta, vision_.head_dim() / 2);
  declare.grounding_space = GRAFT_SPACE_PER_MILLE;
  declare.grounding_format =
      "JSON with the key bbox_2d: corners in thousandths of the image's width and height, "
      "{\"bbox_2d\": [x1, y1, x2, y2], \"label\": \"…\"}";
}

void Qwen3Vl::declare_vision(const families::Module& visual, std::int64_t text_width) {
  patch_embed_ = families::PatchEmbed::declare(visual, vision_, true);
  pos_embed_ = visual.param("pos_embed.weight", {vision_.grid_side * vision_.grid_side, vision_.hidden_size});
  for (std::int64_t i = 0; i < vision_.depth; ++i) {
    blocks_.push_back(
        families::VisionBlock::declare(visual, vision_, i, "linear_fc1", "linear_fc2", /*n_saved=*/2));
  }
  const auto declare_merger = [&](const std::string& path, std::int64_t norm_width) {
    const families::Module module = visual.child(path).as(GRAFT_COMPONENT_PROJECTOR);
    const LayerNorm norm = LayerNorm::declare(module, "norm", norm_width);
    return Merger{norm, PatchMerger::declare(module, vision_, text_width, "linear_fc1", "linear_fc2")};
  };
  merger_ = declare_merger("merger", vision_.hidden_size);
  for (std::size_t i = 0; i < vision_.deepstack_blocks.size(); ++i) {
    // These normalise a token's patches together, the last one each patch by itself.
    deepstack_mergers_.push_back(declare_merger("deepstack_merger_list." + std::to_string(i),
                                                vision_.hidden_size * vision_.merge_unit()));
  }
}

// The learned position of every patch, [P, D].
Tensor Qwen3Vl::positions_of(const Exec& exec, const families::PatchGrid& grid, const PixelsList& images,
                             const Tensor& like) const {
  Interpolation mix;
  std::size_t patch = 0;
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    for (; patch < static_cast<std::size_t>(grid.image_ends[i]); ++patch) {
      mix.add(grid.rows[patch], images[i].grid[1], grid.columns[patch], images[i].grid[2], vision_.grid_side);
    }
  }
  const auto n = static_cast<std::int64_t>(patch);
  const Tensor indices = ops::to_device_of(Tensor::from(mix.indices), like);
  const Tensor weights = ops::to_device_of(Tensor::from(mix.weights), like);
  const Tensor taps = ops::view(ops::embedding(exec.param(pos_embed_), indices), {n, 4, vision_.hidden_size});
  return ops::to(ops::sum(taps * ops::view(weights, {n, 4, 1}), {1}), like.dtype());
}

// [P / m², (1 + deepstack) · text width]: the tokens' embeddings, then what each of the first decoder layers adds to them.
Tensor Qwen3Vl::encode_images(const Exec& exec, const PixelsList& images) const {
  if (images.size() == 0) throw graft::Error("encode_images was called without images");
  families::PatchGrid grid;
  for (std::uint32_t i = 0; i < images.size(); ++i) grid.add_image(images[i], vision_.merge_size);

  Tensor hidden = patch_embed_(exec, images);  // [P, D]
  hidden = hidden + positions_of(exec, grid, images, hidden);
  const families::Rotation rotation = families::patch_rotation(grid, frequencies_, hidden);
  const Tensor image_ends = Tensor::from(grid.image_ends);
  std::vector<Tensor> features(1 + deepstack_mergers_.size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    hidden = exec.segment<&Qwen3Vl::block>(blocks_[i].segments.whole, i,
                                           {hidden, rotation.cos, rotation.sin, image_ends});
    for (std::size_t depth = 0; depth < deepstack_mergers_.size(); ++depth) {
      if (vision_.deepstack_blocks[depth] != static_cast<std::int64_t>(i)) continue;
      const Merger& merger = deepstack_mergers_[depth];
      const Tensor joined = ops::view(hidden, {-1, merger.layers.width});
      features[1 + depth] = merger.layers(exec, merger.norm(exec, joined, families::kVisionNormEps));
    }
  }
  features[0] = merger_.layers(exec, merger_.norm(exec, hidden, families::kVisionNormEps));
  return ops::cat(features, 1);
}

}  // namespace

GRAFT_PLUGIN(Qwen3Vl);
