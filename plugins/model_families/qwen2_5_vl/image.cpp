// SPDX-License-Identifier: Apache-2.0
// From a decoded image to patches, equal to transformers' torchvision-backed Qwen2VLImageProcessor.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "family.h"

namespace qwen2_5_vl {
namespace {

using graft::DType;
using graft::Error;
namespace ops = graft::ops;

struct Size {
  std::int64_t height, width;
};

// As Python prints a float.
std::string python_number(double value) {
  char text[32];
  std::string out(text, std::to_chars(text, text + sizeof text, value).ptr);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

// Sides to the nearest multiple of `factor` (half to even), then scaled so that the area lies within the
// limits.
Size smart_resize(Size size, std::int64_t factor, const ImageConfig& limits) {
  const auto height = static_cast<double>(size.height), width = static_cast<double>(size.width);
  const auto unit = static_cast<double>(factor);
  const double ratio = std::max(height, width) / std::min(height, width);
  if (ratio > 200.0) {
    throw Error("absolute aspect ratio must be smaller than 200, got " + python_number(ratio));
  }
  const auto multiple = [&](double steps) { return static_cast<std::int64_t>(steps) * factor; };
  Size out{multiple(std::nearbyint(height / unit)), multiple(std::nearbyint(width / unit))};
  if (out.height * out.width > limits.max_pixels) {
    const double beta = std::sqrt(height * width / static_cast<double>(limits.max_pixels));
    out.height = std::max(factor, multiple(std::floor(height / beta / unit)));
    out.width = std::max(factor, multiple(std::floor(width / beta / unit)));
  } else if (out.height * out.width < limits.min_pixels) {
    const double beta = std::sqrt(static_cast<double>(limits.min_pixels) / (height * width));
    out.height = multiple(std::ceil(height * beta / unit));
    out.width = multiple(std::ceil(width * beta / unit));
  }
  return out;
}

// What each byte of a channel becomes: (v − mean / f) / (std / f) in float32, f the rescale factor.
using ByteTable = std::array<float, 256>;
std::array<ByteTable, 3> byte_tables(const ImageConfig& image) {
  std::array<ByteTable, 3> tables{};
  const auto scale = static_cast<float>(1.0 / image.rescale_factor);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const float mean = static_cast<float>(image.mean[channel]) * scale;
    const float deviation = static_cast<float>(image.std[channel]) * scale;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      tables[channel][byte] = (static_cast<float>(byte) - mean) / deviation;
    }
  }
  return tables;
}

// Bytes of an image in any layout; strides in elements.
struct Bytes {
  const std::uint8_t* data;
  std::int64_t row_stride, column_stride, channel_stride;
};

// Writes the patches: [rows / m, columns / m, m, m] of them, each [3, temporal, p, p]; a still image fills
// every frame alike.
void cut_patches(const Bytes& bytes, Size grid, const VisionConfig& vision, const ImageConfig& image,
                 float* out) {
  const std::array<ByteTable, 3> tables = byte_tables(image);
  const std::int64_t side = vision.patch_size, merge = vision.merge_size;
  const auto cut = [&](std::int64_t patch_row, std::int64_t patch_column) {
    const std::uint8_t* origin =
        bytes.data + patch_row * side * bytes.row_stride + patch_column * side * bytes.column_stride;
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const std::uint8_t* plane = origin + static_cast<std::int64_t>(channel) * bytes.channel_stride;
      float* const frame = out;
      for (std::int64_t y = 0; y < side; ++y) {
        for (std::int64_t x = 0; x < side; ++x) {
          *out++ = tables[channel][plane[y * bytes.row_stride + x * bytes.column_stride]];
        }
      }
      for (std::int64_t t = 1; t < vision.temporal_patch_size; ++t)
        out = std::copy_n(frame, side * side, out);
    }
  };
  for (std::int64_t row = 0; row < grid.height; row += merge) {
    for (std::int64_t column = 0; column < grid.width; column += merge) {
      for (std::int64_t y = 0; y < merge; ++y) {
        for (std::int64_t x = 0; x < merge; ++x) cut(row + y, column + x);
      }
    }
  }
}

std::string describe(const graft_image& image) {
  return "image \"" + std::string(graft::to_view(image.name)) + "\" (" + std::to_string(image.width) + " × " +
         std::to_string(image.height) + " pixels)";
}

}  // namespace

graft::Pixels Family::preprocess(const graft_image& image) const {
  const VisionConfig& vision = config_.vision;
  if (image.width < 1 || image.height < 1) throw Error(describe(image) + " is empty");
  Size target{};
  try {
    target = smart_resize({image.height, image.width}, vision.patch_size * vision.merge_size, config_.image);
  } catch (const Error& error) {
    throw Error(describe(image) + ": " + error.what());
  }
  if (target.height < 1 || target.width < 1) {
    throw Error(describe(image) + " would be resized to nothing; raise min_pixels");
  }

  Bytes bytes{image.rgb, 3 * image.width, 3, 1};
  Tensor resized;
  if (target.height != image.height || target.width != image.width) {
    // The height × width × 3 bytes seen as [1, 3, H, W].
    const Tensor rows = Tensor::from_data(DType::kUInt8, {1, image.height, image.width, 3}, image.rgb);
    resized = ops::upsample_bicubic2d_aa(ops::permute(rows, {0, 3, 1, 2}), target.height, target.width);
    const graft_tensor_info info = resized.info();
    bytes = {static_cast<const std::uint8_t*>(info.data), info.strides[2], info.strides[3], info.strides[1]};
  }

  graft::Pixels out;
  const Size grid{target.height / vision.patch_size, target.width / vision.patch_size};
  const std::int64_t patches = grid.height * grid.width;
  out.values = Tensor::from_data(DType::kFloat32, {patches, vision.patch_values()}, nullptr);
  cut_patches(bytes, grid, vision, config_.image, out.values.data<float>());
  out.grid[0] = 1;
  out.grid[1] = grid.height;
  out.grid[2] = grid.width;
  out.n_tokens = patches / vision.merge_unit();
  out.processed_width = target.width;
  out.processed_height = target.height;
  return out;
}

}  // namespace qwen2_5_vl
