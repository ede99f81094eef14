// SPDX-License-Identifier: Apache-2.0
// Chat templates. A directory's own Jinja template is not run: it is recognised as one whose conversations are written here, up
// to its default system message, and any other is refused, since a prompt in another format would differ from what the model was
// trained with.
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
  bool skips_tool_responses =
      false;  // Qwen3: turns of the user that are tool responses do not begin a new question
  bool first_system_only = false;  // Qwen3-VL: system messages behind the first turn are left out
  [[nodiscard]] std::string render(const graft::Json& messages, bool add_generation_prompt,
                                   const ImageText& image) const;
};

// Llama 3: <|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|>, with Llama 3.1's lines of dates if `date` is not empty.
struct Llama3Chat {
  std::string date;
  [[nodiscard]] std::string render(const graft::Json& messages, bool add_generation_prompt,
                                   const ImageText& image) const;
};

// The ChatML variant that a directory's template writes; empty if it is none that is known. With `image` the template has to write
// that for an image.
[[nodiscard]] std::optional<ChatMl> recognise_chatml(std::string_view chat_template,
                                                     std::string_view image = {});

// The same for Llama 3's format; `date` goes into the templates that write one. Empty also where the template begins with the
// tokenizer's bos_token and that is not <|begin_of_text|>.
[[nodiscard]] std::optional<Llama3Chat> recognise_llama3(const graft::FamilyFiles& files,
                                                         const std::string& date);

// The error for a template that is not recognised: its file, what it resembles, what is known, and what to do.
[[noreturn]] void refuse_template(const graft::FamilyFiles& files);
// The same for a family with a format of its own; `found` says what the template is not.
[[noreturn]] void refuse_template(const graft::FamilyFiles& files, const std::string& found);
// The error for an image that is given to a family of text.
[[noreturn]] void refuse_images(const std::string& family);

}  // namespace families
