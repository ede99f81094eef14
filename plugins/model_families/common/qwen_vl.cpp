// SPDX-License-Identifier: Apache-2.0
#include "common/qwen_vl.h"

namespace families {

void QwenVlFamily::open_image_tokens(const Section& root, const graft::FamilyFiles& files) {
  MropeFamily::open_image_tokens(root, files, {"<|image_pad|>", "<|video_pad|>"});
}

std::string QwenVlFamily::render(const graft::Json& messages, bool add_generation_prompt) const {
  return chat_.render(messages, add_generation_prompt, {"<|vision_start|><|image_pad|><|vision_end|>", {}});
}

}  // namespace families
