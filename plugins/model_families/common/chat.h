// SPDX-License-Identifier: Apache-2.0
// Chat templates. A directory's own Jinja template is not run: it is recognised by the markers and the system message that it
// writes, and one with other markers is refused.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace families {

// What stands for an image in a prompt, or why there can be none.
struct ImageText {
  std::string placeholder;  // empty: this family takes text only
  std::string family;       // its name, for messages
};

// The text of a message: its content, or its parts behind each other with `image.placeholder` for an image. Throws
// graft::Error for a video, and for an image where there can be none.
[[nodiscard]] std::string content_of(const graft::Json& message, const ImageText& image);

// ChatML: <|im_start|>role\n…<|im_end|>\n
struct ChatMl {
  std::string default_system;  // of conversations without a system message; empty: none is written
  bool has_thinking_blocks =
      false;                   // Qwen3: reasoning of earlier turns is dropped, an answer always has a block
  bool opens_thought = false;  // the thinking models: a generation prompt ends with <think>
  [[nodiscard]] std::string render(const graft::Json& messages, bool add_generation_prompt,
                                   const ImageText& image) const;
};

// Llama 3: <|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|>, with Llama 3.1's lines of dates if `date` is not empty.
struct Llama3Chat {
  std::string date;
  [[nodiscard]] std::string render(const graft::Json& messages, bool add_generation_prompt,
                                   const ImageText& image) const;
};

// The ChatML variant that a directory's template writes; empty if it writes another format.
[[nodiscard]] std::optional<ChatMl> recognise_chatml(std::string_view chat_template);

// Whether a template writes Llama 3's headers, and whether with its lines of dates.
[[nodiscard]] bool is_llama3_template(std::string_view chat_template);
[[nodiscard]] bool has_llama3_dates(std::string_view chat_template);

// The error for a template that writes none of `formats`, in the words of its end: "the chat template writes …".
[[noreturn]] void refuse_template(const graft::FamilyFiles& files,
                                  std::string_view formats =
                                      "neither ChatML (<|im_start|>) nor Llama 3's "
                                      "format (<|start_header_id|>)");
// The error for an image that is given to a family of text.
[[noreturn]] void refuse_images(const std::string& family);

}  // namespace families
