// SPDX-License-Identifier: Apache-2.0
#include "common/pixels.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace families {
namespace {

using graft::DType;
using graft::Error;
using graft::Tensor;
namespace ops = graft::ops;

// As Python prints a float.
std::string python_number(double value) {
  char text[32];
  std::string out(text, std::to_chars(text, text + sizeof text, value).ptr);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

// Both sides at least `factor`, in the same proportion; Python's rounding down, which may miss it by one.
ImageSize enlarge(ImageSize size, std::int64_t factor) {
  if (size.height >= factor && size.width >= factor) return size;
  const auto height = static_cast<double>(size.height), width = static_cast<double>(size.width);
  const auto unit = static_cast<double>(factor);
  const double scale = std::max(unit / height, unit / width);
  return {static_cast<std::int64_t>(height * scale), static_cast<std::int64_t>(width * scale)};
}

// Sides to the nearest multiple of `factor` (half to even), then scaled so that the area lies within the
// limits.
ImageSize smart_resize(ImageSize size, std::int64_t factor, const ImageConfig& limits) {
  if (limits.enlarges_short_sides) size = enlarge(size, factor);
  const auto height = static_cast<double>(size.height), width = static_cast<double>(size.width);
  const auto unit = static_cast<double>(factor);
  const double ratio = std::max(height, width) / std::min(height, width);
  if (ratio > 200.0) {
    throw Error("absolute aspect ratio must be smaller than 200, got " + python_number(ratio));
  }
  const auto multiple = [&](double steps) { return static_cast<std::int64_t>(steps) * factor; };
  ImageSize out{multiple(std::nearbyint(height / unit)), multiple(std::nearbyint(width / unit))};
  const std::int64_t counted = limits.counted_frames * out.height * out.width;
  const double area = static_cast<double>(limits.counted_frames) * height * width;
  if (counted > limits.max_pixels) {
    const double beta = std::sqrt(area / static_cast<double>(limits.max_pixels));
    out.height = std::max(factor, multiple(std::floor(height / beta / unit)));
    out.width = std::max(factor, multiple(std::floor(width / beta / unit)));
  } else if (counted < limits.min_pixels) {
    const double beta = std::sqrt(static_cast<double>(limits.min_pixels) / area);
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

}  // namespace

std::string describe(const graft_image& image) {
  return "image \"" + std::string(graft::to_view(image.name)) + "\" (" + std::to_string(image.width) + " × " +
         std::to_string(image.height) + " pixels)";
}

ImageBytes resize_image(const graft_image& image, ImageSize target) {
  if (target.height == image.height && target.width == image.width) {
    return {image.rgb, 3 * image.width, 3, 1, {}};
  }
  // The height × width × 3 bytes seen as [1, 3, H, W].
  const Tensor rows = Tensor::from_data(DType::kUInt8, {1, image.height, image.width, 3}, image.rgb);
  Tensor resized = ops::upsample_bicubic2d_aa(ops::permute(rows, {0, 3, 1, 2}), target.height, target.width);
  const graft_tensor_info info = resized.info();
  return {static_cast<const std::uint8_t*>(info.data), info.strides[2], info.strides[3], info.strides[1],
          std::move(resized)};
}

float* cut_patches(const ImageBytes& bytes, ImageSize grid, const PatchConfig& cut_as,
                   const ImageConfig& image, float* out) {
  const std::array<ByteTable, 3> tables = byte_tables(image);
  const std::int64_t side = cut_as.patch_size, merge = cut_as.merge_size;
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
      for (std::int64_t t = 1; t < cut_as.temporal_patch_size; ++t)
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
  return out;
}

ImageConfig read_image_config(std::string_view text, const std::string& where, const ImageConfig& defaults,
                              const PatchConfig& patches) {
  ImageConfig out = defaults;
  if (text.empty()) return out;
  const graft::Json json = parse_file(text, where);
  const Section file(json, where);
  if (const std::optional<Section> size = file.child("size")) {
    out.min_pixels = size->count("shortest_edge", size->count("min_pixels", out.min_pixels));
    out.max_pixels = size->count("longest_edge", size->count("max_pixels", out.max_pixels));
  }
  out.min_pixels = file.count("min_pixels", out.min_pixels);
  out.max_pixels = file.count("max_pixels", out.max_pixels);
  file.require(out.min_pixels <= out.max_pixels, "min_pixels", "is larger than max_pixels");
  out.rescale_factor = file.number("rescale_factor", out.rescale_factor);
  const auto copy3 = [&](const char* key, double* values) {
    const std::vector<double> given = file.numbers(key, {values[0], values[1], values[2]});
    file.require(given.size() == 3, key, "has " + std::to_string(given.size()) + " numbers, expected 3");
    for (std::size_t i = 0; i < 3; ++i) values[i] = given[i];
  };
  copy3("image_mean", out.mean);
  copy3("image_std", out.std);
  const auto must_equal = [&](const char* key, std::int64_t expected) {
    const std::int64_t value = file.integer(key, expected);
    file.require(value == expected, key,
                 "is " + std::to_string(value) + ", but config.json says " + std::to_string(expected));
  };
  must_equal("patch_size", patches.patch_size);
  must_equal("temporal_patch_size", patches.temporal_patch_size);
  must_equal("merge_size", patches.merge_size);
  return out;
}

graft::Pixels cut_image(const graft_image& image, const ImageConfig& config, const PatchConfig& patches) {
  if (image.width < 1 || image.height < 1) throw Error(describe(image) + " is empty");
  ImageSize target{};
  try {
    target = smart_resize({image.height, image.width}, patches.patch_size * patches.merge_size, config);
  } catch (const Error& error) {
    throw Error(describe(image) + ": " + error.what());
  }
  if (target.height < 1 || target.width < 1) {
    throw Error(describe(image) + " would be resized to nothing; raise min_pixels");
  }

  const ImageBytes bytes = resize_image(image, target);
  graft::Pixels out;
  const ImageSize grid{target.height / patches.patch_size, target.width / patches.patch_size};
  const std::int64_t n_patches = grid.height * grid.width;
  out.values = Tensor::from_data(DType::kFloat32, {n_patches, patches.patch_values()}, nullptr);
  cut_patches(bytes, grid, patches, config, out.values.data<float>());
  out.grid[0] = 1;
  out.grid[1] = grid.height;
  out.grid[2] = grid.width;
  out.n_tokens = n_patches / patches.merge_unit();
  out.processed_width = target.width;
  out.processed_height = target.height;
  return out;
}

}  // namespace families
