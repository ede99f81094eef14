// SPDX-License-Identifier: Apache-2.0
// What config.json and preprocessor_config.json of a Qwen2.5-VL directory say.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <vector>

namespace qwen2_5_vl {

struct TextConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t n_layers = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  double rms_norm_eps = 0.0;
  double rope_theta = 0.0;
  std::vector<std::int64_t>
      mrope_section;  // rotary pairs that follow the temporal, height and width position, in turn
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
};

struct VisionConfig {
  std::int64_t depth = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t n_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t patch_size = 0;
  std::int64_t temporal_patch_size = 0;
  std::int64_t merge_size = 0;   // patches a side that become one token
  std::int64_t window_size = 0;  // pixels a side
  std::vector<std::int64_t> full_attention_blocks;
  double rope_theta = 0.0;

  static constexpr std::int64_t kChannels = 3;
  [[nodiscard]] std::int64_t patch_values() const {
    return kChannels * temporal_patch_size * patch_size * patch_size;
  }
  [[nodiscard]] std::int64_t merge_unit() const { return merge_size * merge_size; }  // patches of a token
};

struct ImageConfig {
  std::int64_t min_pixels = 56 * 56;
  std::int64_t max_pixels = 28 * 28 * 1280;
  double rescale_factor = 1.0 / 255.0;
  double mean[3] = {0.48145466, 0.4578275, 0.40821073};
  double std[3] = {0.26862954, 0.26130258, 0.27577711};
};

struct Config {
  TextConfig text;
  VisionConfig vision;
  ImageConfig image;
  std::int64_t image_token = -1;
  std::int64_t video_token = -1;
};

// Reads both layouts of config.json: flat, as published, and nested, as transformers 5 writes it. Throws
// graft::Error that names the key.
[[nodiscard]] Config read_config(const graft::FamilyFiles& files);

}  // namespace qwen2_5_vl
