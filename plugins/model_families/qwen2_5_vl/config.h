// SPDX-License-Identifier: Apache-2.0
// What config.json of a Qwen2.5-VL directory says beyond what its relatives' do.
#pragma once

#include <cstdint>
#include <vector>

#include "common/text_config.h"
#include "common/vision.h"

namespace qwen2_5_vl {

struct VisionConfig : families::VisionConfig {
  std::int64_t window_size = 0;  // pixels a side
  std::vector<std::int64_t> full_attention_blocks;
};

// Both layouts of config.json. They throw graft::Error that names the key.
[[nodiscard]] families::TextConfig read_text(const families::Section& root);
[[nodiscard]] VisionConfig read_vision(const families::Section& vision, std::int64_t text_width);

}  // namespace qwen2_5_vl
