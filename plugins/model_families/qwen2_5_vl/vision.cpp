// SPDX-License-Identifier: Apache-2.0
// The vision encoder: patches in windows, a few blocks over the whole image, then the merger to the decoder's
// width.
#include <algorithm>
#include <cmath>

#include "family.h"
#include "rotary.h"

namespace qwen2_5_vl {
namespace {

using graft::DType;
namespace ops = graft::ops;

constexpr double kNormEps = 1e-6;

// How the patches of all images of a call are ordered and which of them attend to each other.
struct Windows {
  std::vector<std::int64_t> order;        // patch that stands at each place
  std::vector<std::int64_t> unit_places;  // place of each token's patches, as a token index: undoes the order
  std::vector<std::int64_t> window_ends;  // in patches
  std::vector<std::int64_t> image_ends;   // in patches
  std::vector<float> rows, columns;       // coordinates of the patch at each place
  bool is_identity = true;

  // Tokens of one image (rows × columns of merge × merge patches) in windows of `side` tokens, row by row.
  void add_image(const graft_pixels& pixels, const VisionConfig& vision) {
    const std::int64_t merge = vision.merge_size;
    const std::int64_t side = vision.window_size / merge / vision.patch_size;
    const std::int64_t height = pixels.grid[1] / merge, width = pixels.grid[2] / merge;
    const auto first = static_cast<std::int64_t>(unit_places.size());
    unit_places.resize(unit_places.size() + static_cast<std::size_t>(height * width));
    for (std::int64_t top = 0; top < height; top += side) {
      for (std::int64_t left = 0; left < width; left += side) {
        for (std::int64_t row = top; row < std::min(top + side, height); ++row) {
          for (std::int64_t column = left; column < std::min(left + side, width); ++column) {
            add_token(first + row * width + column, row, column, merge);
          }
        }
        window_ends.push_back(static_cast<std::int64_t>(order.size()));
      }
    }
    image_ends.push_back(static_cast<std::int64_t>(order.size()));
  }

 private:
  void add_token(std::int64_t token, std::int64_t row, std::int64_t column, std::int64_t merge) {
    const std::int64_t unit = merge * merge;
    const auto place = static_cast<std::int64_t>(order.size()) / unit;
    is_identity = is_identity && place == token;
    unit_places[static_cast<std::size_t>(token)] = place;
    for (std::int64_t y = 0; y < merge; ++y) {
      for (std::int64_t x = 0; x < merge; ++x) {
        order.push_back(token * unit + y * merge + x);
        rows.push_back(static_cast<float>(row * merge + y));
        columns.push_back(static_cast<float>(column * merge + x));
      }
    }
  }
};

// Angles [P, d / 2]: a quarter of the head's pairs turns with the row, a quarter with the column.
Tensor patch_angles(const Windows& windows, const Tensor& frequencies, const Tensor& like) {
  const auto n = static_cast<std::int64_t>(windows.order.size());
  const auto turns = [&](const std::vector<float>& coordinates) {
    const Tensor column = ops::view(Tensor::from(coordinates), {n, 1});
    return ops::mul(column, frequencies);  // [P, d / 4]
  };
  return ops::to_device_of(ops::cat({turns(windows.rows), turns(windows.columns)}, 1), like);
}

// In the dtype of the weight. Under autocast the residual stream, which starts with a product, is narrower than that; the fused
// kernel takes one dtype.
Tensor normalize(const Tensor& x, const Tensor& weight) {
  return ops::rms_norm(ops::to(x, weight.dtype()), weight, kNormEps);
}

}  // namespace

// The 3D convolution over whole patches is a matrix product. [P, D]
Tensor Family::embed_patches(const Exec& exec, const PixelsList& images) const {
  std::vector<Tensor> values;
  for (std::uint32_t i = 0; i < images.size(); ++i) values.push_back(Tensor::share(images[i].values));
  const Tensor pixels = values.size() == 1 ? values[0] : ops::cat(values, 0);
  const Tensor weight = exec.param(layout_.patch_embed);
  const Tensor kernel = ops::view(weight, {config_.vision.hidden_size, -1});
  return ops::linear(ops::to(ops::to_device_of(pixels, weight), weight.dtype()), kernel);
}

Tensor Family::encode_images(const Exec& exec, const PixelsList& images) const {
  if (images.size() == 0) throw graft::Error("encode_images was called without images");
  Windows windows;
  for (std::uint32_t i = 0; i < images.size(); ++i) windows.add_image(images[i], config_.vision);

  Tensor hidden = embed_patches(exec, images);  // [P, D]
  if (!windows.is_identity) {
    hidden = ops::index_select(hidden, 0, ops::to_device_of(Tensor::from(windows.order), hidden));
  }
  // In float32 whatever the weights are, as transformers has it.
  const Rotation rotation = rotation_of(patch_angles(windows, vision_frequencies_, hidden), DType::kFloat32);
  const Tensor window_ends = Tensor::from(windows.window_ends);
  const Tensor image_ends = Tensor::from(windows.image_ends);
  for (std::size_t i = 0; i < layout_.blocks.size(); ++i) {
    const BlockParts& block = layout_.blocks[i];
    hidden = exec.segment<&Family::vision_block>(
        block.segment, i,
        {hidden, rotation.cos, rotation.sin, block.full_attention ? image_ends : window_ends});
  }

  Tensor merged = merge(exec, hidden);  // [P / m², width of the decoder]
  if (!windows.is_identity) {
    merged = ops::index_select(merged, 0, ops::to_device_of(Tensor::from(windows.unit_places), merged));
  }
  return merged;
}

// in: hidden [P, D], cos, sin, block ends
Tensor Family::vision_block(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const BlockParts& parts = layout_.blocks[index];
  const std::int64_t heads = config_.vision.n_heads, head_dim = config_.vision.head_dim;
  const Tensor hidden = in[0];
  const Tensor ends = in[3];
  const DType dtype = hidden.dtype();

  const Tensor normed = normalize(hidden, exec.param(parts.norm1));
  const Tensor qkv = ops::view(exec.linear(parts.qkv, normed), {-1, 3 * heads, head_dim});
  const auto [qk, v] = ops::split<2>(qkv, {2 * heads, heads}, 1);
  const Tensor turned = ops::to(rotate(ops::to(qk, DType::kFloat32), in[1], in[2]), dtype);
  const auto [q, k] = ops::chunk<2>(turned, 1);  // [P, H, d]

  const std::int64_t* end = ends.data<std::int64_t>();
  const Tensor mixed = exec.block_attention(q, k, v, 1.0 / std::sqrt(static_cast<double>(head_dim)),
                                            {end, end + ends.size(0)});
  const Tensor residual = hidden + exec.linear(parts.proj, ops::reshape(mixed, {-1, heads * head_dim}));

  const Tensor x = normalize(residual, exec.param(parts.norm2));
  const Tensor gate = ops::silu(exec.linear(parts.gate_proj, x));
  return residual + exec.linear(parts.down_proj, gate * exec.linear(parts.up_proj, x));
}

// m² neighbouring patches become one token.
Tensor Family::merge(const Exec& exec, const Tensor& hidden) const {
  const Tensor normed = normalize(hidden, exec.param(layout_.merger_norm));
  const Tensor joined = ops::view(normed, {-1, config_.vision.merge_unit() * config_.vision.hidden_size});
  return exec.linear(layout_.merger_out, ops::gelu(exec.linear(layout_.merger_in, joined)));
}

}  // namespace qwen2_5_vl
