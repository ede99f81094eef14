// SPDX-License-Identifier: Apache-2.0
#include "common/chat.h"

#include <vector>

namespace families {
namespace {

using graft::Error;
using graft::Json;

constexpr std::string_view kThinkStart = "<think>", kThinkEnd = "</think>";

std::string image_text(const ImageText& image) {
  if (image.placeholder.empty()) refuse_images(image.family);
  return image.placeholder;
}

void append_part(const Json& part, const ImageText& image, std::string& out) {
  const Json* type = part.find("type");
  const auto is = [&](std::string_view name) {
    return part.contains(name) || (type != nullptr && type->is_string() && type->as_string() == name);
  };
  if (is("image") || part.contains("image_url")) {
    out += image_text(image);
  } else if (is("video")) {
    throw Error(GRAFT_E_UNSUPPORTED, "a message has a video part; this family takes text and images");
  } else if (const Json* text = part.find("text")) {
    out += text->as_string();
  }
}

// As Jinja's trim and Python's strip do: of the characters given, from both ends or from one.
constexpr std::string_view kSpaces = " \t\n\r\f\v";
std::string trim_left(const std::string& text, std::string_view characters) {
  const std::size_t first = text.find_first_not_of(characters);
  return first == std::string::npos ? std::string() : text.substr(first);
}
std::string trim(const std::string& text, std::string_view characters) {
  const std::size_t last = text.find_last_not_of(characters);
  return last == std::string::npos ? std::string() : trim_left(text.substr(0, last + 1), characters);
}

// An assistant's message of Qwen3, cut at its reasoning.
struct Thought {
  std::string reasoning, answer;
};
Thought cut_thought(const std::string& content) {
  const std::size_t first_end = content.find(kThinkEnd), last_end = content.rfind(kThinkEnd);
  if (first_end == std::string::npos) return {"", content};
  std::string reasoning = content.substr(0, first_end);
  const std::size_t start = reasoning.rfind(kThinkStart);
  if (start != std::string::npos) reasoning.erase(0, start + kThinkStart.size());
  return {trim(reasoning, "\n"), trim_left(content.substr(last_end + kThinkEnd.size()), "\n")};
}

// The index of the last message of the user, or of the last one of all.
std::int64_t last_query(const Json& messages) {
  std::int64_t index = 0, last = static_cast<std::int64_t>(messages.items().size()) - 1;
  for (const Json& message : messages.items()) {
    if (message.at("role").as_string() == "user") last = index;
    ++index;
  }
  return last;
}

// The text of a Jinja string literal, its escapes undone.
std::string unescape(std::string_view literal) {
  std::string out;
  for (std::size_t i = 0; i < literal.size(); ++i) {
    const bool is_escape = literal[i] == '\\' && i + 1 < literal.size();
    if (is_escape) ++i;
    out += is_escape && literal[i] == 'n' ? '\n' : literal[i];
  }
  return out;
}

// The default system message of a ChatML template: a literal, '<|im_start|>system\nYou are …<|im_end|>', its \n written with a
// backslash. Where a message's content is inserted instead, the literal ends before <|im_end|>.
std::string default_system_of(std::string_view chat_template) {
  constexpr std::string_view kHead = "<|im_start|>system\\n", kEnd = "<|im_end|>";
  for (std::size_t at = chat_template.find(kHead); at != std::string_view::npos;
       at = chat_template.find(kHead, at + 1)) {
    const std::string_view rest = chat_template.substr(at + kHead.size());
    const std::string_view literal = rest.substr(0, rest.find(kEnd));
    const bool is_whole = literal.size() < rest.size() && at > 0 &&
                          literal.find(chat_template[at - 1]) == std::string_view::npos;  // no closing quote
    if (is_whole) return unescape(literal);
  }
  return {};
}

}  // namespace

std::string content_of(const Json& message, const ImageText& image) {
  const Json& content = message.at("content");
  if (content.is_string()) return content.as_string();
  std::string out;
  for (const Json& part : content.items()) append_part(part, image, out);
  return out;
}

std::string ChatMl::render(const Json& messages, bool add_generation_prompt, const ImageText& image) const {
  const auto n = static_cast<std::int64_t>(messages.items().size());
  const std::int64_t query = last_query(messages);
  std::string out;
  for (std::int64_t i = 0; i < n; ++i) {
    const Json& message = messages.items()[static_cast<std::size_t>(i)];
    const std::string& role = message.at("role").as_string();
    if (i == 0 && role != "system" && !default_system.empty()) {
      out += "<|im_start|>system\n" + default_system + "<|im_end|>\n";
    }
    std::string content = content_of(message, image);
    if (has_thinking_blocks && role == "assistant") {
      const Thought thought = cut_thought(content);
      content = thought.answer;
      if (i > query && (i + 1 == n || !thought.reasoning.empty())) {
        content = "<think>\n" + thought.reasoning + "\n</think>\n\n" + trim_left(content, "\n");
      }
    }
    out.append("<|im_start|>").append(role).append("\n").append(content).append("<|im_end|>\n");
  }
  if (add_generation_prompt) out += "<|im_start|>assistant\n";
  if (add_generation_prompt && opens_thought) out += "<think>\n";
  return out;
}

std::string Llama3Chat::render(const Json& messages, bool add_generation_prompt,
                               const ImageText& image) const {
  const auto turn = [](const std::string& role, const std::string& content) {
    return "<|start_header_id|>" + role + "<|end_header_id|>\n\n" + content + "<|eot_id|>";
  };
  const std::vector<Json>& list = messages.items();
  std::string out = "<|begin_of_text|>";
  std::size_t next = 0;
  if (!date.empty()) {  // Llama 3.1 always writes a system turn
    std::string system = "Cutting Knowledge Date: December 2023\nToday Date: " + date + "\n\n";
    if (!list.empty() && list[0].at("role").as_string() == "system") {
      system += trim(content_of(list[0], image), kSpaces);
      ++next;
    }
    out += turn("system", system);
  }
  for (; next < list.size(); ++next) {
    out += turn(list[next].at("role").as_string(), trim(content_of(list[next], image), kSpaces));
  }
  if (add_generation_prompt) out += "<|start_header_id|>assistant<|end_header_id|>\n\n";
  return out;
}

std::optional<ChatMl> recognise_chatml(std::string_view chat_template) {
  if (chat_template.find("<|im_start|>") == std::string_view::npos) return std::nullopt;
  ChatMl out;
  out.has_thinking_blocks = chat_template.find(kThinkEnd) != std::string_view::npos;
  out.opens_thought = chat_template.find("<|im_start|>assistant\\n<think>\\n'") != std::string_view::npos;
  out.default_system = default_system_of(chat_template);
  return out;
}

bool is_llama3_template(std::string_view chat_template) {
  return chat_template.find("<|start_header_id|>") != std::string_view::npos;
}

bool has_llama3_dates(std::string_view chat_template) {
  return chat_template.find("Cutting Knowledge Date") != std::string_view::npos;
}

void refuse_template(const graft::FamilyFiles& files, std::string_view formats) {
  throw Error(GRAFT_E_UNSUPPORTED,
              std::string(files.directory()) + ": the chat template writes " + std::string(formats) +
                  "; others are not offered, and a prompt in another format would differ from what the model "
                  "was trained with");
}

void refuse_images(const std::string& family) {
  throw Error(GRAFT_E_UNSUPPORTED,
              "the prompt has an image, and model family " + family +
                  " takes text only; use a vision-language checkpoint, or samples without images");
}

}  // namespace families
