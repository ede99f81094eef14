// SPDX-License-Identifier: Apache-2.0
// InternViT and the projector behind it, with the arithmetic of transformers' InternVLVisionModel.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <vector>

#include "common/module.h"
#include "common/vision.h"
#include "config.h"

namespace internvl {

using graft::Exec;
using graft::PixelsList;
using graft::Tensor;

// LayerNorm, or RMSNorm without a bias.
struct Norm {
  std::uint32_t weight;
  std::int32_t bias;
  double eps;
  [[nodiscard]] static Norm declare(const families::Module& module, const std::string& name,
                                    const VisionConfig& vision);
  [[nodiscard]] Tensor operator()(const Exec& exec, const Tensor& x) const;
};

// What stands before the blocks: patches, a class token before those of each tile, learned positions.
class Embeddings {
 public:
  // `grid` is the number of patches a side of a tile.
  void declare(const families::Module& module, const VisionConfig& vision, std::int64_t grid);
  // [N · (1 + P), D] of N tiles of P patches.
  [[nodiscard]] Tensor operator()(const Exec& exec, const PixelsList& images) const;

 private:
  [[nodiscard]] Tensor positions(const Exec& exec, const Tensor& like) const;

  std::int64_t width_ = 0, grid_ = 0, learned_side_ = 0;
  families::PatchEmbed patches_{};
  std::uint32_t cls_token_ = 0;
  std::int32_t positions_ = -1;
  Tensor order_;  // int64 [P]: which place of the grid, row by row, each patch has
};

// A block whose two parts are scaled channel by channel before they join the stream (Touvron et al. 2021, arXiv:2103.17239).
struct Block {
  families::BlockSegments segments;
  Norm norm_before, norm_after;
  std::uint32_t q_proj, k_proj, v_proj, out_proj;
  std::int32_t q_norm, k_norm;  // -1 for none
  std::uint32_t lambda_1, lambda_2, fc1, fc2;
  [[nodiscard]] static Block declare(const families::Module& layer, const VisionConfig& vision,
                                     std::int64_t index);
  // hidden [T, D]; `ends` are the tiles' int64 end offsets, on the CPU
  [[nodiscard]] Tensor attention_part(const Exec& exec, const Tensor& hidden, const Tensor& ends,
                                      std::int64_t heads) const;
  [[nodiscard]] Tensor mlp_part(const Exec& exec, const Tensor& hidden) const;

 private:
  [[nodiscard]] Tensor attention(const Exec& exec, const Tensor& x, const Tensor& ends,
                                 std::int64_t heads) const;
};

// Two layers with a GELU between them, over a token's patches together.
struct Projector {
  families::LayerNorm norm;
  std::uint32_t linear_1, linear_2;
  std::int64_t width;  // of a token's patches
  [[nodiscard]] static Projector declare(const families::Module& module, const VisionConfig& vision,
                                         std::int64_t text_width);
  // [tokens, text width] of patches in the order of Embeddings, without class tokens
  [[nodiscard]] Tensor operator()(const Exec& exec, const Tensor& patches) const;
};

}  // namespace internvl
