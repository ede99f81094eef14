// SPDX-License-Identifier: Apache-2.0
#include "vision.h"

#include <cmath>

#include "common/layers.h"

namespace internvl {

using families::Module;
namespace ops = graft::ops;

namespace {

constexpr double kHeadNormEps = 1e-6;       // of queries and keys
constexpr double kProjectorNormEps = 1e-5;  // torch.nn.LayerNorm's own

std::uint32_t index_of(std::int32_t param) {
  return static_cast<std::uint32_t>(param);
}

}  // namespace

// ---- norms ------------------------------------------------------------------------------------------------

Norm Norm::declare(const Module& module, const std::string& name, const VisionConfig& vision) {
  if (vision.uses_rms_norm) return {module.norm(name, vision.hidden_size), -1, vision.norm_eps};
  const auto parts = families::LayerNorm::declare(module, name, vision.hidden_size);
  return {parts.weight, static_cast<std::int32_t>(parts.bias), vision.norm_eps};
}

Tensor Norm::operator()(const Exec& exec, const Tensor& x) const {
  if (bias < 0) return families::rms_norm(x, exec.param(weight), eps);
  return families::layer_norm(x, exec.param(weight), exec.param(index_of(bias)), eps);
}

// ---- embeddings -------------------------------------------------------------------------------------------

void Embeddings::declare(const Module& module, const VisionConfig& vision, std::int64_t grid) {
  using Init = Module::Init;
  width_ = vision.hidden_size;
  grid_ = grid;
  learned_side_ = vision.positions_side();
  const Module projection = module.child("patch_embeddings.projection");
  patches_.weight = projection.param(
      "weight", {width_, families::PatchConfig::kChannels, vision.patch_size, vision.patch_size});
  patches_.bias = static_cast<std::int32_t>(projection.param("bias", {width_}, Init::kZeros));
  cls_token_ = module.param("cls_token", {1, 1, width_}, Init::kZeros);
  if (vision.has_positions) {
    positions_ = static_cast<std::int32_t>(
        module.param("position_embeddings", {1, 1 + learned_side_ * learned_side_, width_}, Init::kZeros));
  }
  std::vector<std::int64_t> order;
  const std::int64_t merge = vision.merge_size;
  for (std::int64_t token = 0; token < grid * grid / (merge * merge); ++token) {
    const std::int64_t row = token / (grid / merge) * merge, column = token % (grid / merge) * merge;
    for (std::int64_t y = 0; y < merge; ++y) {
      for (std::int64_t x = 0; x < merge; ++x) order.push_back((row + y) * grid + column + x);
    }
  }
  order_ = Tensor::from(order);
}

Tensor Embeddings::operator()(const Exec& exec, const PixelsList& images) const {
  const Tensor patches = ops::view(patches_(exec, images), {-1, grid_ * grid_, width_});
  const Tensor cls = ops::expand(exec.param(cls_token_), {patches.size(0), 1, width_});
  Tensor hidden = ops::cat({cls, patches}, 1);  // [N, 1 + P, D]
  if (positions_ >= 0) hidden = hidden + positions(exec, hidden);
  return ops::reshape(hidden, {-1, width_});
}

// [1, 1 + P, D]: the learned positions, interpolated if tiles have another size than the images that they were learned on.
Tensor Embeddings::positions(const Exec& exec, const Tensor& like) const {
  static const graft::Op upsample_bicubic("aten::upsample_bicubic2d");
  const std::int64_t learned = learned_side_ * learned_side_;
  const auto [cls, square] = ops::split<2>(exec.param(index_of(positions_)), {1, learned}, 1);
  Tensor grid = square;
  if (grid_ != learned_side_) {
    const Tensor planes =
        ops::permute(ops::reshape(square, {1, learned_side_, learned_side_, width_}), {0, 3, 1, 2});
    const Tensor resized = upsample_bicubic({planes, {grid_, grid_}, false});
    grid = ops::reshape(ops::permute(resized, {0, 2, 3, 1}), {1, grid_ * grid_, width_});
  }
  return ops::cat({cls, ops::index_select(grid, 1, ops::to_device_of(order_, like))}, 1);
}

// ---- blocks -----------------------------------------------------------------------------------------------

Block Block::declare(const Module& layer, const VisionConfig& vision, std::int64_t index) {
  using Init = Module::Init;
  const std::int64_t width = vision.hidden_size, intermediate = vision.intermediate_size;
  const Module attn = layer.child("attention"), mlp = layer.child("mlp");
  Block parts{};
  parts.lambda_1 = layer.param("lambda_1", {width}, Init::kOnes);
  parts.lambda_2 = layer.param("lambda_2", {width}, Init::kOnes);
  parts.q_proj = attn.linear("q_proj", width, width, vision.has_qkv_bias);
  parts.k_proj = attn.linear("k_proj", width, width, vision.has_qkv_bias);
  parts.v_proj = attn.linear("v_proj", width, width, vision.has_qkv_bias);
  parts.out_proj = attn.linear("projection_layer", width, width, true);
  parts.q_norm = parts.k_norm = -1;
  if (vision.has_qk_norm) {
    parts.q_norm = static_cast<std::int32_t>(attn.norm("q_norm", width));
    parts.k_norm = static_cast<std::int32_t>(attn.norm("k_norm", width));
  }
  parts.norm_before = Norm::declare(layer, "layernorm_before", vision);
  parts.norm_after = Norm::declare(layer, "layernorm_after", vision);
  parts.fc1 = mlp.linear("fc1", intermediate, width, true);
  parts.fc2 = mlp.linear("fc2", width, intermediate, true);
  parts.segments = families::BlockSegments::declare(
      layer.declare(), "vision.blocks." + std::to_string(index), GRAFT_COMPONENT_VISION,
      families::attention_cost(width, width, width, vision.has_qk_norm),
      families::mlp_cost(width, intermediate));
  return parts;
}

Tensor Block::attention_part(const Exec& exec, const Tensor& hidden, const Tensor& ends,
                             std::int64_t heads) const {
  return hidden + exec.param(lambda_1) * attention(exec, norm_before(exec, hidden), ends, heads);
}

Tensor Block::mlp_part(const Exec& exec, const Tensor& hidden) const {
  const Tensor inner = ops::gelu(exec.linear(fc1, norm_after(exec, hidden)));
  return hidden + exec.param(lambda_2) * exec.linear(fc2, inner);
}

Tensor Block::attention(const Exec& exec, const Tensor& x, const Tensor& ends, std::int64_t heads) const {
  const std::int64_t width = x.size(1), head_dim = width / heads;
  const auto project = [&](std::uint32_t site, std::int32_t norm) {  // [T, H, d]
    Tensor out = exec.linear(site, x);
    if (norm >= 0) out = families::rms_norm(out, exec.param(index_of(norm)), kHeadNormEps);
    return ops::view(out, {-1, heads, head_dim});
  };
  const std::int64_t* end = ends.data<std::int64_t>();
  const Tensor mixed =
      exec.block_attention(project(q_proj, q_norm), project(k_proj, k_norm), project(v_proj, -1),
                           1.0 / std::sqrt(static_cast<double>(head_dim)), {end, end + ends.size(0)});
  return exec.linear(out_proj, ops::reshape(mixed, {-1, width}));
}

// ---- projector --------------------------------------------------------------------------------------------

Projector Projector::declare(const Module& module, const VisionConfig& vision, std::int64_t text_width) {
  const std::int64_t width = vision.hidden_size * vision.merge_unit();
  const auto norm = families::LayerNorm::declare(module, "layer_norm", width);
  const std::uint32_t linear_1 = module.linear("linear_1", text_width, width, true);
  return {norm, linear_1, module.linear("linear_2", text_width, text_width, true), width};
}

Tensor Projector::operator()(const Exec& exec, const Tensor& patches) const {
  // The order of the patches makes pixel shuffle a view.
  const Tensor tokens = norm(exec, ops::reshape(patches, {-1, width}), kProjectorNormEps);
  return exec.linear(linear_2, ops::gelu(exec.linear(linear_1, tokens)));
}

}  // namespace internvl
