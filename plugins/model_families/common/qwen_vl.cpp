// SPDX-License-Identifier: Apache-2.0
#include "common/qwen_vl.h"

namespace families {

namespace {

constexpr std::string_view kImage = "<|vision_start|><|image_pad|><|vision_end|>";

}  // namespace

void QwenVlFamily::open_image_tokens(const Section& root, const graft::FamilyFiles& files) {
  MropeFamily::open_image_tokens(root, files, {"<|image_pad|>", "<|video_pad|>"});
}

void QwenVlFamily::open_chat(const graft::FamilyFiles& files) {
  if (files.chat_template().empty()) return;
  const std::optional<ChatMl> recognised = recognise_chatml(files.chat_template(), kImage);
  if (!recognised) refuse_template(files);
  chat_ = *recognised;
}

std::string QwenVlFamily::render(const graft::Json& messages, bool add_generation_prompt) const {
  return chat_.render(messages, add_generation_prompt, {std::string(kImage), {}});
}

}  // namespace families
