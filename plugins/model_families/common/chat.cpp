// SPDX-License-Identifier: Apache-2.0
#include "common/chat.h"

#include <cstdio>
#include <filesystem>
#include <vector>

#include "common/chat_template.h"

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

std::string trim_left(const std::string& text, char character) {
  const std::size_t first = text.find_first_not_of(character);
  return first == std::string::npos ? std::string() : text.substr(first);
}
std::string trim(const std::string& text, char character) {
  const std::size_t last = text.find_last_not_of(character);
  return last == std::string::npos ? std::string() : trim_left(text.substr(0, last + 1), character);
}

// What Python's str.strip() takes for white space beyond one byte, in UTF-8.
constexpr std::string_view kWideSpaces[] = {
    "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
    "\u2007", "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

// Bytes of the white space at the beginning or end of a text; 0: none.
std::size_t space_at(std::string_view text, bool is_end) {
  if (text.empty()) return 0;
  const char c = is_end ? text.back() : text.front();
  if ((c >= '\t' && c <= '\r') || (c >= 0x1c && c <= ' ')) return 1;
  for (const std::string_view space : kWideSpaces) {
    if (text.size() < space.size()) continue;
    if (text.substr(is_end ? text.size() - space.size() : 0, space.size()) == space) return space.size();
  }
  return 0;
}

// As Jinja's trim and Python's strip do.
std::string strip(std::string_view text) {
  while (const std::size_t n = space_at(text, false)) text.remove_prefix(n);
  while (const std::size_t n = space_at(text, true)) text.remove_suffix(n);
  return std::string(text);
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
  return {trim(reasoning, '\n'), trim_left(content.substr(last_end + kThinkEnd.size()), '\n')};
}

bool is_tool_response(const std::string& content) {
  constexpr std::string_view kStart = "<tool_response>", kEnd = "</tool_response>";
  return content.compare(0, kStart.size(), kStart) == 0 && content.size() >= kEnd.size() &&
         content.compare(content.size() - kEnd.size(), kEnd.size(), kEnd) == 0;
}

// The index of the last question of the user, or of the last message of all.
std::int64_t last_query(const Json& messages, bool skips_tool_responses) {
  std::int64_t index = 0, last = static_cast<std::int64_t>(messages.items().size()) - 1;
  for (const Json& message : messages.items()) {
    const bool is_user = message.at("role").as_string() == "user";
    if (is_user && !(skips_tool_responses && is_tool_response(content_of(message, {"<image>", {}})))) {
      last = index;
    }
    ++index;
  }
  return last;
}

// Where the host reads the chat template from.
std::string template_file(std::string_view directory) {
  namespace fs = std::filesystem;
  const fs::path folder(directory);
  for (const char* name : {"chat_template.jinja", "chat_template.json"}) {
    std::error_code ignored;
    if (fs::exists(folder / name, ignored) && fs::file_size(folder / name, ignored) > 0)
      return (folder / name).string();
  }
  return (folder / "tokenizer_config.json").string();
}

// bos_token of tokenizer_config.json: a string, or an object with its content.
std::string begin_token(const graft::FamilyFiles& files) {
  if (files.tokenizer_config().empty()) return {};
  const Json config = Json::parse(files.tokenizer_config());
  const Json* token = config.find("bos_token");
  if (token != nullptr && token->is_object()) token = token->find("content");
  return token != nullptr && token->is_string() ? token->as_string() : std::string();
}

// What in a template that is not known differs from plain writing of messages, for people.
std::string remarkable_parts(std::string_view chat_template) {
  constexpr std::pair<const char*, const char*> kParts[] = {
      {"strftime_now", "the date of the day"},
      {"| trim", "trimmed contents"},
      {"|trim", "trimmed contents"},
      {".strip()", "trimmed contents"},
      {"raise_exception", "conditions on conversations"},
      {"tools", "tools"},
      {"[INST]", "Llama 2's and Mistral's markers"},
      {"<start_of_turn>", "Gemma's markers"},
      {"<|user|>", "markers of Phi, Zephyr or GLM"}};
  std::string out;
  for (const auto& [part, name] : kParts) {
    if (chat_template.find(part) == std::string_view::npos || out.find(name) != std::string::npos) continue;
    out += (out.empty() ? "" : ", ") + std::string(name);
  }
  return out;
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
  const std::int64_t query = last_query(messages, skips_tool_responses);
  std::string out;
  for (std::int64_t i = 0; i < n; ++i) {
    const Json& message = messages.items()[static_cast<std::size_t>(i)];
    const std::string& role = message.at("role").as_string();
    if (i == 0 && role != "system" && !default_system.empty()) {
      out += "<|im_start|>system\n" + default_system + "<|im_end|>\n";
    }
    if (first_system_only && i > 0 && role == "system") continue;
    std::string content = content_of(message, image);
    if (has_thinking_blocks && role == "assistant") {
      const Thought thought = cut_thought(content);
      content = thought.answer;
      if (i > query && (i + 1 == n || !thought.reasoning.empty())) {
        content = "<think>\n" + thought.reasoning + "\n</think>\n\n" + trim_left(content, '\n');
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
      system += strip(content_of(list[0], image));
      ++next;
    }
    out += turn("system", system);
  }
  for (; next < list.size(); ++next) {
    out += turn(list[next].at("role").as_string(), strip(content_of(list[next], image)));
  }
  if (add_generation_prompt) out += "<|start_header_id|>assistant<|end_header_id|>\n\n";
  return out;
}

std::optional<ChatMl> recognise_chatml(std::string_view chat_template, std::string_view image) {
  const TemplateForm form = read_template(chat_template);
  const KnownTemplate* known = find_template(form);
  if (known == nullptr || known->format != KnownTemplate::Format::kChatMl) return std::nullopt;
  if (!image.empty() && known->image != image) return std::nullopt;
  ChatMl out;
  out.default_system = form.default_system;
  out.has_thinking_blocks = known->has(KnownTemplate::kThinking);
  out.opens_thought = known->has(KnownTemplate::kOpensThought);
  out.skips_tool_responses = known->has(KnownTemplate::kSkipsToolResponses);
  out.first_system_only = known->has(KnownTemplate::kFirstSystemOnly);
  return out;
}

std::optional<Llama3Chat> recognise_llama3(const graft::FamilyFiles& files, const std::string& date) {
  const KnownTemplate* known = find_template(read_template(files.chat_template()));
  if (known == nullptr || known->format != KnownTemplate::Format::kLlama3) return std::nullopt;
  if (known->has(KnownTemplate::kBeginToken) && begin_token(files) != "<|begin_of_text|>")
    return std::nullopt;
  return Llama3Chat{known->has(KnownTemplate::kDates) ? date : std::string()};
}

void refuse_template(const graft::FamilyFiles& files) {
  using Format = KnownTemplate::Format;
  const std::string_view given = files.chat_template();
  const auto has = [&](const char* marker) { return given.find(marker) != std::string_view::npos; };
  std::string found = "its markers are neither ChatML's (<|im_start|>) nor Llama 3's (<|start_header_id|>)";
  if (has("<|im_start|>")) {
    found = "its markers are ChatML's (<|im_start|>), but as a whole it is not the template of " +
            known_templates(Format::kChatMl) +
            " that this family could follow, their default system message aside";
  } else if (has("<|start_header_id|>")) {
    found = "its markers are Llama 3's (<|start_header_id|>), but as a whole it is not the template of " +
            known_templates(Format::kLlama3) + " with <|begin_of_text|> as bos_token";
  }
  refuse_template(files, found);
}

void refuse_template(const graft::FamilyFiles& files, const std::string& found) {
  const std::string_view given = files.chat_template();
  const std::string parts = remarkable_parts(given);
  char form[24];
  std::snprintf(form, sizeof(form), "%016llx",
                static_cast<unsigned long long>(read_template(given).fingerprint));
  throw Error(
      GRAFT_E_UNSUPPORTED,
      template_file(files.directory()) + ": the chat template is not recognised: " + found +
          (parts.empty() ? "" : "; it has " + parts) + " (form " + form +
          "); Jinja is not run here, and a prompt in another format would differ from what the model was "
          "trained with; put the base checkpoint's published template there, or take the template out "
          "to have the family's own format");
}

void refuse_images(const std::string& family) {
  throw Error(GRAFT_E_UNSUPPORTED,
              "the prompt has an image, and model family " + family +
                  " takes text only; use a vision-language checkpoint, or samples without images");
}

}  // namespace families
