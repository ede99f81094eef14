// SPDX-License-Identifier: Apache-2.0
// The chat template (ChatML), image tokens, and position ids.
#include <algorithm>

#include "family.h"

namespace qwen2_5_vl {
namespace {

using graft::Error;
using graft::Json;

constexpr std::string_view kImagePlaceholder = "<|vision_start|><|image_pad|><|vision_end|>";
constexpr std::string_view kDefaultSystem = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n";

void append_part(const Json& part, std::string& out) {
  const Json* type = part.find("type");
  const auto is = [&](std::string_view name) {
    return part.contains(name) || (type != nullptr && type->is_string() && type->as_string() == name);
  };
  if (is("image") || part.contains("image_url")) {
    out += kImagePlaceholder;
  } else if (is("video")) {
    throw Error(GRAFT_E_UNSUPPORTED, "a message has a video part; this family takes text and images");
  } else if (const Json* text = part.find("text")) {
    out += text->as_string();
  }
}

}  // namespace

std::string Family::render(const Json& messages, bool add_generation_prompt) const {
  std::string out;
  bool is_first = true;
  for (const Json& message : messages.items()) {
    const std::string& role = message.at("role").as_string();
    if (is_first && role != "system") out += kDefaultSystem;
    is_first = false;
    out += "<|im_start|>" + role + "\n";
    const Json& content = message.at("content");
    if (content.is_string()) {
      out += content.as_string();
    } else {
      for (const Json& part : content.items()) append_part(part, out);
    }
    out += "<|im_end|>\n";
  }
  if (add_generation_prompt) out += "<|im_start|>assistant\n";
  return out;
}

std::vector<std::int64_t> Family::expand(const std::int64_t* ids, std::size_t n,
                                         const PixelsList& images) const {
  const auto placeholders = static_cast<std::size_t>(std::count(ids, ids + n, config_.image_token));
  if (placeholders != images.size()) {
    throw Error("the prompt has " + std::to_string(placeholders) +
                " image placeholders (<|image_pad|>) but " + std::to_string(images.size()) +
                " images were given");
  }
  if (config_.video_token >= 0 && std::find(ids, ids + n, config_.video_token) != ids + n) {
    throw Error(GRAFT_E_UNSUPPORTED,
                "the prompt has a video placeholder (<|video_pad|>); this family takes images");
  }
  std::vector<std::int64_t> out;
  std::uint32_t image = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_image = ids[i] == config_.image_token;
    out.insert(out.end(), is_image ? static_cast<std::size_t>(images[image++].n_tokens) : 1, ids[i]);
  }
  return out;
}

// M-RoPE: text counts on all three axes alike; an image's tokens have its start on the first axis and start +
// row, start + column on the others, and the text after it goes on behind the larger side.
graft::PromptPositions Family::positions(const std::int64_t* ids, std::size_t n,
                                         const PixelsList& images) const {
  graft::PromptPositions out;
  out.ids.resize(3 * n);
  std::int64_t* temporal = out.ids.data();
  std::int64_t* height = temporal + n;
  std::int64_t* width = height + n;
  std::int64_t next = 0;
  std::uint32_t image = 0;
  for (std::size_t i = 0; i < n;) {
    if (ids[i] != config_.image_token) {
      temporal[i] = height[i] = width[i] = next++;
      ++i;
      continue;
    }
    if (image == images.size()) throw Error("the prompt has more image tokens than its images take");
    const graft_pixels& pixels = images[image++];
    const std::int64_t rows = pixels.grid[1] / config_.vision.merge_size;
    const std::int64_t columns = pixels.grid[2] / config_.vision.merge_size;
    if (static_cast<std::int64_t>(n - i) < rows * columns)
      throw Error("the prompt ends within an image's tokens");
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column, ++i) {
        temporal[i] = next;
        height[i] = next + row;
        width[i] = next + column;
      }
    }
    next += std::max(rows, columns);
  }
  out.next = next;
  return out;
}

}  // namespace qwen2_5_vl
