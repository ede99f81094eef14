// SPDX-License-Identifier: Apache-2.0
#include "common/vision.h"

#include <cmath>

namespace families {

using graft::DType;
using graft::Exec;
using graft::Tensor;
namespace ops = graft::ops;

void read_vision_basics(const Section& vision, VisionConfig& out) {
  out.depth = vision.count("depth");
  out.n_heads = vision.count("num_heads");
  out.patch_size = vision.count("patch_size", out.patch_size);
  out.temporal_patch_size = vision.count("temporal_patch_size", out.temporal_patch_size);
  out.merge_size = vision.count("spatial_merge_size", out.merge_size);
  if (const std::optional<Section> rope = vision.child("rope_parameters")) {
    out.rope_theta = rope->number("rope_theta", out.rope_theta);
  }
  vision.expect("in_channels", PatchConfig::kChannels);
  vision.expect("in_chans", PatchConfig::kChannels);
  vision.require(out.hidden_size % (4 * out.n_heads) == 0, "hidden_size", "is no multiple of 4 · num_heads");
}

PatchEmbed PatchEmbed::declare(const Module& visual, const VisionConfig& vision, bool has_bias) {
  const std::uint32_t weight = visual.param(
      "patch_embed.proj.weight", {vision.hidden_size, PatchConfig::kChannels, vision.temporal_patch_size,
                                  vision.patch_size, vision.patch_size});
  if (!has_bias) return {weight, -1};
  return {weight, static_cast<std::int32_t>(
                      visual.param("patch_embed.proj.bias", {vision.hidden_size}, Module::Init::kZeros))};
}

Tensor PatchEmbed::operator()(const Exec& exec, const graft::PixelsList& images) const {
  std::vector<Tensor> values;
  for (std::uint32_t i = 0; i < images.size(); ++i) values.push_back(Tensor::share(images[i].values));
  const Tensor pixels = values.size() == 1 ? values[0] : ops::cat(values, 0);
  const Tensor convolution = exec.param(weight);
  const Tensor kernel = ops::view(convolution, {convolution.size(0), -1});
  const Tensor offset = bias < 0 ? Tensor() : exec.param(static_cast<std::uint32_t>(bias));
  return ops::linear(ops::to(ops::to_device_of(pixels, kernel), kernel.dtype()), kernel, offset);
}

void PatchGrid::add_image(const graft_pixels& pixels, std::int64_t merge) {
  for (std::int64_t row = 0; row < pixels.grid[1] / merge; ++row) {
    for (std::int64_t column = 0; column < pixels.grid[2] / merge; ++column) add_token(row, column, merge);
  }
  image_ends.push_back(static_cast<std::int64_t>(rows.size()));
}

void PatchGrid::add_token(std::int64_t row, std::int64_t column, std::int64_t merge) {
  for (std::int64_t y = 0; y < merge; ++y) {
    for (std::int64_t x = 0; x < merge; ++x) {
      rows.push_back(static_cast<float>(row * merge + y));
      columns.push_back(static_cast<float>(column * merge + x));
    }
  }
}

Rotation patch_rotation(const PatchGrid& grid, const Tensor& frequencies, const Tensor& like) {
  const auto n = static_cast<std::int64_t>(grid.rows.size());
  const auto turns = [&](const std::vector<float>& coordinates) {
    return ops::mul(ops::view(Tensor::from(coordinates), {n, 1}), frequencies);  // [P, d / 4]
  };
  const Tensor angles = ops::cat({turns(grid.rows), turns(grid.columns)}, 1);  // [P, d / 2]
  return rotation_of(ops::to_device_of(angles, like), DType::kFloat32);
}

VisionAttention VisionAttention::declare(const Module& attn, std::int64_t width, bool has_qkv_bias,
                                         bool has_output_bias) {
  const std::uint32_t qkv = attn.linear("qkv", 3 * width, width, has_qkv_bias);
  return {qkv, attn.linear("proj", width, width, has_output_bias)};
}

Tensor VisionAttention::operator()(const Exec& exec, const Tensor& x, const Rotation& rotation,
                                   const Tensor& ends, std::int64_t heads) const {
  const Tensor joined = exec.linear(qkv, x);  // [P, 3 D]
  const std::int64_t width = joined.size(1) / 3, head_dim = width / heads;
  const auto [qk, v] = ops::split<2>(ops::view(joined, {-1, 3 * heads, head_dim}), {2 * heads, heads}, 1);
  const Tensor turned =
      ops::to(rotate(ops::to(qk, DType::kFloat32), rotation.cos, rotation.sin), joined.dtype());
  const auto [q, k] = ops::chunk<2>(turned, 1);  // [P, H, d]
  const std::int64_t* end = ends.data<std::int64_t>();
  const Tensor mixed = exec.block_attention(q, k, v, 1.0 / std::sqrt(static_cast<double>(head_dim)),
                                            {end, end + ends.size(0)});
  return exec.linear(proj, ops::reshape(mixed, {-1, width}));
}

VisionBlock VisionBlock::declare(const Module& visual, const VisionConfig& vision, std::int64_t index,
                                 const char* fc1_name, const char* fc2_name, std::int64_t n_saved) {
  const std::string name = "blocks." + std::to_string(index);
  const Module block = visual.child(name), mlp = block.child("mlp");
  const std::int64_t width = vision.hidden_size, intermediate = vision.intermediate_size;
  VisionBlock parts{};
  parts.norm1 = LayerNorm::declare(block, "norm1", width);
  parts.norm2 = LayerNorm::declare(block, "norm2", width);
  parts.attn = VisionAttention::declare(block.child("attn"), width);
  parts.fc1 = mlp.linear(fc1_name, intermediate, width, true);
  parts.fc2 = mlp.linear(fc2_name, width, intermediate, true);
  parts.segments =
      BlockSegments::declare(visual.declare(), "vision." + name, GRAFT_COMPONENT_VISION,
                             vision_attention_cost(width), mlp_cost(width, intermediate, n_saved));
  return parts;
}

Tensor VisionBlock::attention(const Exec& exec, const graft::TensorList& in, std::int64_t heads) const {
  const Tensor hidden = in[0];
  return hidden + attn(exec, norm1(exec, hidden, kVisionNormEps), {in[1], in[2]}, in[3], heads);
}

Tensor VisionBlock::feed_forward(const Exec& exec, const graft::TensorList& in,
                                 Tensor (*activation)(const Tensor&)) const {
  const Tensor hidden = in[0];
  const Tensor x = norm2(exec, hidden, kVisionNormEps);
  return hidden + exec.linear(fc2, activation(exec.linear(fc1, x)));
}

PatchMerger PatchMerger::declare(const Module& merger, const VisionConfig& vision, std::int64_t text_width,
                                 const char* in_name, const char* out_name) {
  const std::int64_t width = vision.hidden_size * vision.merge_unit();
  const std::uint32_t in = merger.linear(in_name, width, width, true);
  return {in, merger.linear(out_name, text_width, width, true), width};
}

Tensor PatchMerger::operator()(const Exec& exec, const Tensor& normed) const {
  return exec.linear(out, ops::gelu(exec.linear(in, ops::view(normed, {-1, width}))));
}

}  // namespace families
