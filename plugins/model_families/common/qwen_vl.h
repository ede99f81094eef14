// SPDX-License-Identifier: Apache-2.0
// What Qwen2-VL and its successors share beyond the pattern of mrope_family.h: ChatML with image placeholders.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <string>

#include "common/chat.h"
#include "common/mrope_family.h"

namespace families {

// Base class of these families. They write encode_images() and open(), which calls the three functions that open something.
class QwenVlFamily : public MropeFamily {
 public:
  std::string render(const graft::Json& messages, bool add_generation_prompt) const override;

 protected:
  void open_image_tokens(const Section& root, const graft::FamilyFiles& files);
  // The directory's chat template; without one, `chat_` stays as it is.
  void open_chat(const graft::FamilyFiles& files);
  ChatMl chat_{"You are a helpful assistant."};
};

}  // namespace families
