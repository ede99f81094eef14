// SPDX-License-Identifier: Apache-2.0
// What the vision encoders of the Qwen pattern share: patches as a matrix product, two-dimensional rotary positions, attention
// with one projection for queries, keys and values, and the merger.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <vector>

#include "common/module.h"
#include "common/pixels.h"
#include "common/rotary.h"

namespace families {

constexpr double kVisionNormEps = 1e-6;  // of every norm of these encoders

struct VisionConfig : PatchConfig {
  std::int64_t depth = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t n_heads = 0;
  double rope_theta = 10000.0;

  [[nodiscard]] std::int64_t head_dim() const { return hidden_size / n_heads; }
};

// Reads what all of them write alike: depth, heads, patch sizes, RoPE. `out.hidden_size` must be set.
void read_vision_basics(const Section& vision, VisionConfig& out);

// The convolution over whole patches, [D, channels, frames, p, p], is a matrix product.
struct PatchEmbed {
  std::uint32_t weight;
  std::int32_t bias;  // -1 for none
  [[nodiscard]] static PatchEmbed declare(const Module& visual, const VisionConfig& vision, bool has_bias);
  // The images' patches behind each other, [P, D].
  [[nodiscard]] graft::Tensor operator()(const graft::Exec& exec, const graft::PixelsList& images) const;
};

// Where patches stand and which of them belong together, in the order in which preprocessing cuts them: token by token, the
// merge × merge patches of a token row by row.
struct PatchGrid {
  std::vector<float> rows, columns;
  std::vector<std::int64_t> image_ends;  // in patches

  void add_image(const graft_pixels& pixels, std::int64_t merge);
  void add_token(std::int64_t row, std::int64_t column, std::int64_t merge);
};

// A quarter of a head's pairs turns with the row, a quarter with the column. In float32 whatever the weights are, as
// transformers has it; on the device of `like`.
[[nodiscard]] Rotation patch_rotation(const PatchGrid& grid, const graft::Tensor& frequencies,
                                      const graft::Tensor& like);

// Attention in both directions within blocks of patches.
struct VisionAttention {
  std::uint32_t qkv, proj;
  [[nodiscard]] static VisionAttention declare(const Module& attn, std::int64_t width,
                                               bool has_qkv_bias = true, bool has_output_bias = true);
  // x [P, D], already normalised; `ends` are the blocks' int64 end offsets, on the CPU. Gives what is added to the stream.
  [[nodiscard]] graft::Tensor operator()(const graft::Exec& exec, const graft::Tensor& x,
                                         const Rotation& rotation, const graft::Tensor& ends,
                                         std::int64_t heads) const;
};

// A block with LayerNorm before attention and before two layers with an activation between them. A family runs its parts as the
// bodies of their segments.
struct VisionBlock {
  BlockSegments segments;
  LayerNorm norm1, norm2;
  VisionAttention attn;
  std::uint32_t fc1, fc2;
  // `n_saved`: tensors of the hidden layer that autograd keeps, see mlp_cost().
  [[nodiscard]] static VisionBlock declare(const Module& visual, const VisionConfig& vision,
                                           std::int64_t index, const char* fc1_name, const char* fc2_name,
                                           std::int64_t n_saved);
  // in: hidden [P, D], cos, sin, block ends
  [[nodiscard]] graft::Tensor attention(const graft::Exec& exec, const graft::TensorList& in,
                                        std::int64_t heads) const;
  // in: hidden [P, D]
  [[nodiscard]] graft::Tensor feed_forward(const graft::Exec& exec, const graft::TensorList& in,
                                           graft::Tensor (*activation)(const graft::Tensor&)) const;
};

// merge × merge neighbouring patches become one token: two layers with a GELU between them.
struct PatchMerger {
  std::uint32_t in, out;
  std::int64_t width;  // of a token's patches together
  [[nodiscard]] static PatchMerger declare(const Module& merger, const VisionConfig& vision,
                                           std::int64_t text_width, const char* in_name,
                                           const char* out_name);
  [[nodiscard]] graft::Tensor operator()(const graft::Exec& exec, const graft::Tensor& normed) const;
};

}  // namespace families
