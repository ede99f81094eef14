// SPDX-License-Identifier: Apache-2.0
#include "common/chat_template.h"

namespace families {
namespace {

using Known = KnownTemplate;
constexpr auto kChatMl = Known::Format::kChatMl, kLlama3 = Known::Format::kLlama3;
constexpr std::string_view kQwenImage = "<|vision_start|><|image_pad|><|vision_end|>";
constexpr unsigned kQwen3 = Known::kThinking | Known::kSkipsToolResponses;

constexpr Known kTemplates[] = {
    {0x93c9ba3d7109da55, "plain ChatML", kChatMl, 0, {}},
    {0x791695be897a870a, "plain ChatML", kChatMl, 0, {}},
    {0x57cf31c2b8e3b6cb, "Qwen2", kChatMl, Known::kDefaultSystem, {}},
    {0x5f6e2f32a3b60530, "Qwen2.5", kChatMl, Known::kDefaultSystem, {}},
    {0xc42f4ad01c877e5f, "Qwen3", kChatMl, kQwen3, {}},
    {0x90eec8c6ef4eb6d3, "Qwen3", kChatMl, kQwen3, {}},
    {0xf92e3ca10b9c7527, "Qwen3-Thinking", kChatMl, kQwen3 | Known::kOpensThought, {}},
    {0xaef76f5a8c73fa01, "Qwen3-Instruct-2507", kChatMl, 0, {}},
    {0xaed905799fc88188, "Qwen2-VL and Qwen2.5-VL", kChatMl, Known::kDefaultSystem, kQwenImage},
    {0x7f98044c8e52de12, "Qwen3-VL", kChatMl, Known::kFirstSystemOnly, kQwenImage},
    {0x26d46d902130d4f2, "Llama 3", kLlama3, Known::kBeginToken, {}},
    {0x5b985cc75692c156, "Llama 3.1", kLlama3, Known::kBeginToken | Known::kDates, {}},
    {0x9f0b6bd30a36f1d7, "Llama 3.2", kLlama3, Known::kBeginToken | Known::kDates, {}},
    // Those of the test fixtures (tests/oracle/tokenizer.py), which write the same conversations.
    {0xdbae45a2d8543c7e, "Qwen2", kChatMl, Known::kDefaultSystem, {}},
    {0xd701bf1e08c16f34, "Qwen3", kChatMl, Known::kThinking, {}},
    {0xed2b14b610f3060e, "Qwen2-VL and Qwen2.5-VL", kChatMl, Known::kDefaultSystem, kQwenImage},
    {0x0001809f9317bfd2, "Qwen3-VL", kChatMl, 0, kQwenImage},
    {0xc09eff12b7665d17, "InternVL", kChatMl, 0, "<IMG_CONTEXT>\n"},
    {0x73efc712b01dd4dd, "Llama 3.1", kLlama3, Known::kDates, {}},
};

}  // namespace

const KnownTemplate* find_template(const TemplateForm& form) {
  for (const Known& known : kTemplates) {
    if (known.fingerprint != form.fingerprint) continue;
    return known.has(Known::kDefaultSystem) == !form.default_system.empty() ? &known : nullptr;
  }
  return nullptr;
}

std::string known_templates(Known::Format format) {
  std::string out;
  for (const Known& known : kTemplates) {
    if (known.format != format || out.find(known.name) != std::string::npos) continue;
    out += (out.empty() ? "" : ", ") + std::string(known.name);
  }
  return out;
}

}  // namespace families
