// SPDX-License-Identifier: Apache-2.0
// From a decoded image to patches, equal to transformers' torchvision-backed Qwen2VLImageProcessor, which the families of the
// Qwen pattern share, and with its two deviations to Glm4vImageProcessor.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/section.h"

namespace families {

// How an encoder cuts images.
struct PatchConfig {
  static constexpr std::int64_t kChannels = 3;
  std::int64_t patch_size = 14;
  std::int64_t temporal_patch_size = 2;
  std::int64_t merge_size = 2;  // patches a side that become one token

  [[nodiscard]] std::int64_t patch_values() const {
    return kChannels * temporal_patch_size * patch_size * patch_size;
  }
  [[nodiscard]] std::int64_t merge_unit() const { return merge_size * merge_size; }  // patches of a token
};

// preprocessor_config.json; the defaults are those of Qwen2-VL.
struct ImageConfig {
  std::int64_t min_pixels = 56 * 56;
  std::int64_t max_pixels = 28 * 28 * 1280;
  double rescale_factor = 1.0 / 255.0;
  double mean[3] = {0.48145466, 0.4578275, 0.40821073};
  double std[3] = {0.26862954, 0.26130258, 0.27577711};
  // Of the family, not of the file:
  std::int64_t counted_frames =
      1;  // the limits count the pixels of so many frames, each as large as the image
  bool enlarges_short_sides = false;  // an image with a side below a token's is enlarged to that side first
};

// Reads the text of preprocessor_config.json over `defaults`; an empty text leaves them. Patch sizes must be the encoder's.
[[nodiscard]] ImageConfig read_image_config(std::string_view text, const std::string& where,
                                            const ImageConfig& defaults, const PatchConfig& patches);

struct ImageSize {
  std::int64_t height, width;
};

// Bytes of an image in any layout; strides in elements.
struct ImageBytes {
  const std::uint8_t* data;
  std::int64_t row_stride, column_stride, channel_stride;
  graft::Tensor owner;  // of resized ones; empty if they are the image's own
};

// As torchvision resizes: bicubic, antialiased.
[[nodiscard]] ImageBytes resize_image(const graft_image& image, ImageSize target);

// Writes normalised patches: [rows / m, columns / m, m, m] of them with m = merge_size, `grid` counts them; each
// [3, temporal, p, p], where a still image fills every frame alike. Returns the end of what was written.
float* cut_patches(const ImageBytes& bytes, ImageSize grid, const PatchConfig& cut_as,
                   const ImageConfig& image, float* out);

// Its name and size, for messages.
[[nodiscard]] std::string describe(const graft_image& image);

// Resized to multiples of a token's side within the limits, normalised, cut into patches: values [patches, patch_values()],
// the merge × merge patches of a token behind each other, a still image in every frame.
[[nodiscard]] graft::Pixels cut_image(const graft_image& image, const ImageConfig& config,
                                      const PatchConfig& patches);

}  // namespace families
