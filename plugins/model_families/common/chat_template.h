// SPDX-License-Identifier: Apache-2.0
// A Jinja chat template reduced to what it does: two templates with the same form render every conversation alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace families {

struct TemplateForm {
  // Of the tokens, with comments, spelling and white space that Jinja drops left out; texts count as literals. The default
  // system message does not enter, wherever it stands. 0: not to be read.
  std::uint64_t fingerprint = 0;
  // The text of the one literal "<|im_start|>system\n…<|im_end|>\n"; empty: there is none.
  std::string default_system;
};

// As transformers sets Jinja up: trim_blocks and lstrip_blocks.
[[nodiscard]] TemplateForm read_template(std::string_view chat_template);

// A template whose conversations graft writes. That it writes the same ones is tested against transformers
// (tests/embed/template_live.py).
struct KnownTemplate {
  enum class Format { kChatMl, kLlama3 };
  enum Trait : unsigned {
    kDefaultSystem = 1,       // a literal default system message
    kThinking = 2,            // reasoning of earlier turns is dropped, an answer always has a block
    kOpensThought = 4,        // a generation prompt ends with <think>
    kSkipsToolResponses = 8,  // turns of the user that are tool responses do not count as questions
    kFirstSystemOnly = 16,    // a system message is written at the beginning only
    kBeginToken = 32,         // begins with the tokenizer's bos_token
    kDates = 64,              // Llama 3.1's lines of dates
  };
  std::uint64_t fingerprint;
  const char* name;
  Format format;
  unsigned traits;
  std::string_view image;  // what stands for an image; empty: contents are text

  [[nodiscard]] bool has(Trait trait) const { return (traits & trait) != 0; }
};

// Null if there is none.
[[nodiscard]] const KnownTemplate* find_template(const TemplateForm& form);
// The names of those of a format, with a comma between them.
[[nodiscard]] std::string known_templates(KnownTemplate::Format format);

}  // namespace families
