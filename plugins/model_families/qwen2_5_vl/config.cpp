// SPDX-License-Identifier: Apache-2.0
#include "config.h"

namespace qwen2_5_vl {

families::TextConfig read_text(const families::Section& root) {
  families::TextConfig defaults;
  defaults.has_qkv_bias = true;
  defaults.rms_norm_eps = 1e-5;
  defaults.rope.theta = 1e6;
  defaults.rope.mrope_section = {16, 24, 24};
  return families::read_text_config(root, defaults);
}

VisionConfig read_vision(const families::Section& vision, std::int64_t text_width) {
  VisionConfig out;
  out.hidden_size = vision.count("hidden_size");
  out.intermediate_size = vision.count("intermediate_size");
  families::read_vision_basics(vision, out);
  out.window_size = vision.count("window_size", 112);
  out.full_attention_blocks = vision.integers("fullatt_block_indexes", {7, 15, 23, 31});
  vision.require(out.window_size >= out.patch_size * out.merge_size, "window_size",
                 "is smaller than one token");
  const std::int64_t width = vision.integer("out_hidden_size", text_width);
  vision.require(width == text_width, "out_hidden_size",
                 "is " + std::to_string(width) + ", expected the decoder's " + std::to_string(text_width));
  vision.expect("hidden_act", "silu");
  return out;
}

}  // namespace qwen2_5_vl
