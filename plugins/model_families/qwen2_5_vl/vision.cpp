// SPDX-License-Identifier: Apache-2.0
// The vision encoder: patches in windows, a few blocks over the whole image, then the merger to the decoder's
// width.
#include <algorithm>

#include "family.h"

namespace qwen2_5_vl {
namespace {

namespace ops = graft::ops;

// How the patches of all images of a call are ordered and which of them attend to each other.
struct Windows {
  families::PatchGrid grid;               // the patch at each place
  std::vector<std::int64_t> order;        // patch that stands at each place
  std::vector<std::int64_t> unit_places;  // place of each token's patches, as a token index: undoes the order
  std::vector<std::int64_t> window_ends;  // in patches
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
    grid.image_ends.push_back(static_cast<std::int64_t>(order.size()));
  }

 private:
  void add_token(std::int64_t token, std::int64_t row, std::int64_t column, std::int64_t merge) {
    const std::int64_t unit = merge * merge;
    const auto place = static_cast<std::int64_t>(order.size()) / unit;
    is_identity = is_identity && place == token;
    unit_places[static_cast<std::size_t>(token)] = place;
    for (std::int64_t patch = 0; patch < unit; ++patch) order.push_back(token * unit + patch);
    grid.add_token(row, column, merge);
  }
};

// The rows of x in another order; nothing to do if it is the one they have.
Tensor reorder(const Tensor& x, const std::vector<std::int64_t>& order, bool is_identity) {
  return is_identity ? x : ops::index_select(x, 0, ops::to_device_of(Tensor::from(order), x));
}

}  // namespace

Tensor Family::encode_images(const Exec& exec, const PixelsList& images) const {
  if (images.size() == 0) throw graft::Error("encode_images was called without images");
  Windows windows;
  for (std::uint32_t i = 0; i < images.size(); ++i) windows.add_image(images[i], vision_);

  Tensor hidden = patch_embed_(exec, images);  // [P, D]
  hidden = reorder(hidden, windows.order, windows.is_identity);
  const families::Rotation rotation = families::patch_rotation(windows.grid, frequencies_, hidden);
  const Tensor window_ends = Tensor::from(windows.window_ends);
  const Tensor image_ends = Tensor::from(windows.grid.image_ends);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Tensor& ends = blocks_[i].full_attention ? image_ends : window_ends;
    hidden = exec.segment<&Family::block>(blocks_[i].segments.whole, i,
                                          {hidden, rotation.cos, rotation.sin, ends});
  }
  const Tensor normed = families::rms_norm(hidden, exec.param(merger_norm_), families::kVisionNormEps);
  return reorder(merger_(exec, normed), windows.unit_places, windows.is_identity);  // [P / m², text width]
}

// in: hidden [P, D], cos, sin, block ends
Tensor Family::block(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const families::BlockSegments& segments = blocks_[index].segments;
  const Tensor hidden =
      exec.segment<&Family::block_attention>(segments.attn, index, {in[0], in[1], in[2], in[3]});
  return exec.segment<&Family::block_mlp>(segments.mlp, index, {hidden});
}

// in: hidden [P, D], cos, sin, block ends
Tensor Family::block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Block& parts = blocks_[index];
  const Tensor hidden = in[0];
  const Tensor normed = families::rms_norm(hidden, exec.param(parts.norm1), families::kVisionNormEps);
  return hidden + parts.attn(exec, normed, {in[1], in[2]}, in[3], vision_.n_heads);
}

// in: hidden [P, D]
Tensor Family::block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
  const Block& parts = blocks_[index];
  const Tensor hidden = in[0];
  return hidden +
         parts.mlp(exec, families::rms_norm(hidden, exec.param(parts.norm2), families::kVisionNormEps));
}

}  // namespace qwen2_5_vl
