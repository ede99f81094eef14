// SPDX-License-Identifier: Apache-2.0
// config.json and preprocessor_config.json of InternVL in transformers' layout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/pixels.h"
#include "common/section.h"
#include "common/text_config.h"

namespace internvl {

// vision_config. A token is merge_size × merge_size patches, 1 / downsample_ratio a side.
struct VisionConfig : families::PatchConfig {
  std::int64_t depth = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t n_heads = 0;
  std::int64_t image_side = 0;  // pixels, of the square that the learned positions cover
  double norm_eps = 1e-6;
  bool has_qkv_bias = false;
  bool has_qk_norm = false;  // RMSNorm over all heads of queries and keys together
  bool uses_rms_norm = false;
  bool has_positions = true;
  bool has_final_norm = false;

  [[nodiscard]] std::int64_t head_dim() const { return hidden_size / n_heads; }
  [[nodiscard]] std::int64_t positions_side() const { return image_side / patch_size; }
};

// How images become tiles: preprocessor_config.json.
struct TileConfig {
  std::int64_t side = 0;  // pixels
  std::int64_t min_tiles = 1;
  std::int64_t max_tiles = 12;   // the thumbnail not counted
  families::ImageConfig values;  // normalisation; its limits of pixels are not used
};

// These throw graft::Error that names the file and the key for what is missing, does not fit together, or is not offered.
[[nodiscard]] families::TextConfig read_text(const families::Section& root);
// Names of the head in published files. Where config.json ties it at the top but not in text_config, transformers 5 goes by
// whether the weights have one; then the embedding's values are what it starts from if they do not.
[[nodiscard]] std::vector<std::string> head_names(const families::Section& root,
                                                  const families::TextConfig& text);
[[nodiscard]] VisionConfig read_vision(const families::Section& root);
[[nodiscard]] TileConfig read_tiles(std::string_view text, const std::string& where,
                                    const VisionConfig& vision);

}  // namespace internvl
