// SPDX-License-Identifier: Apache-2.0
// From a conversation and its images to what the decoder takes.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "model/core.h"
#include "model/model.h"
#include "model/pixels.h"
#include "model/tensor_handle.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using nlohmann::json;
using plugin::view;
using support::cat;
using support::UserError;

constexpr std::string_view kPlaceholder = "<image>";

// ---- messages ---------------------------------------------------------------------------------------------

json text_part(std::string_view text) {
  return {{"type", "text"}, {"text", text}};
}
json image_part() {
  return {{"type", "image"}};
}

// The text cut at its placeholders, an image in place of each.
json interleaved(std::string_view text, const Message& message) {
  json parts = json::array();
  std::int64_t n_images = 0;
  for (std::size_t at = text.find(kPlaceholder); at != std::string_view::npos; at = text.find(kPlaceholder)) {
    if (at > 0) parts.push_back(text_part(text.substr(0, at)));
    parts.push_back(image_part());
    text.remove_prefix(at + kPlaceholder.size());
    ++n_images;
  }
  if (!text.empty()) parts.push_back(text_part(text));
  if (n_images != message.n_images) {
    throw UserError(cat("a ", message.role, " message has ", n_images, " <image> placeholders, but ",
                        message.n_images, " images belong to it"));
  }
  return parts;
}

json content_of(const Message& message) {
  const bool has_no_images = message.n_images == 0 && message.role != "user";
  if (has_no_images) return message.text;  // what an assistant said, "<image>" included, is text
  if (support::contains(message.text, kPlaceholder)) return interleaved(message.text, message);
  if (message.n_images == 0) return message.text;
  json parts = json::array();
  for (std::int64_t i = 0; i < message.n_images; ++i) parts.push_back(image_part());
  if (!message.text.empty()) parts.push_back(text_part(message.text));
  return parts;
}

std::string messages_json(const std::vector<Message>& messages) {
  json list = json::array();
  for (const Message& message : messages)
    list.push_back({{"role", message.role}, {"content", content_of(message)}});
  return list.dump(-1, ' ', false, json::error_handler_t::replace);  // ill-formed UTF-8 becomes U+FFFD
}

// ---- images -----------------------------------------------------------------------------------------------

PreparedImage preprocess(const Family& family, const image::Image& picture, const std::string& name) {
  graft_image in{};
  in.hdr = GRAFT_HDR(graft_image);
  in.rgb = picture.rgb.data();
  in.width = picture.width;
  in.height = picture.height;
  in.name = view(name);
  graft_pixels out{};
  out.hdr = GRAFT_HDR(graft_pixels);
  family.call_on_user_data("preprocess", [&](graft_error* error) {
    return family.table().preprocess(family.instance(), &in, &out, error);
  });
  PreparedImage prepared{take(out.values),    {out.grid[0], out.grid[1], out.grid[2]},
                         out.n_tokens,        picture.width,
                         picture.height,      out.processed_width,
                         out.processed_height};
  if (!prepared.values.defined() || prepared.values.scalar_type() != at::kFloat || prepared.n_tokens <= 0) {
    throw support::PluginError(cat("model_family ", family.name(), ": preprocess gave no float32 values or ",
                                   prepared.n_tokens, " tokens for ", name));
  }
  return prepared;
}

std::vector<PreparedImage> preprocess_all(const Family& family, std::span<const image::Image> images,
                                          std::span<const std::string> names) {
  std::vector<PreparedImage> out;
  for (std::size_t i = 0; i < images.size(); ++i) {
    out.push_back(preprocess(family, images[i], i < names.size() ? names[i] : cat("image ", i + 1)));
  }
  return out;
}

// ---- ids --------------------------------------------------------------------------------------------------

std::vector<std::int64_t> expand(const Family& family, const std::vector<std::int64_t>& ids,
                                 const PixelsList& pixels) {
  std::string bytes;
  const graft_sink sink = plugin::string_sink(bytes);
  family.call_on_user_data("expand", [&](graft_error* error) {
    return family.table().expand(family.instance(), ids.data(), ids.size(), pixels.data(), pixels.size(),
                                 &sink, error);
  });
  if (bytes.size() % sizeof(std::int64_t) != 0) {
    throw support::PluginError(cat("model_family ", family.name(), ": expand wrote ", bytes.size(),
                                   " bytes, expected a multiple of 8"));
  }
  std::vector<std::int64_t> out(bytes.size() / sizeof(std::int64_t));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<std::int64_t> find_image_rows(const std::vector<std::int64_t>& ids,
                                          const std::vector<std::int64_t>& image_token_ids,
                                          std::int64_t expected) {
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (std::find(image_token_ids.begin(), image_token_ids.end(), ids[i]) != image_token_ids.end()) {
      rows.push_back(static_cast<std::int64_t>(i));
    }
  }
  if (static_cast<std::int64_t>(rows.size()) != expected) {
    throw UserError(cat("the prompt has ", rows.size(), " image tokens, but its images take ", expected,
                        "; a message probably contains an image token as text"));
  }
  return rows;
}

void add_positions(const Family& family, std::uint32_t rank, const PixelsList& pixels, Prompt& prompt) {
  const auto n = static_cast<std::int64_t>(prompt.ids.size());
  prompt.positions = at::empty({rank, n}, at::TensorOptions().dtype(at::kLong));
  family.call_on_user_data("positions", [&](graft_error* error) {
    return family.table().positions(family.instance(), prompt.ids.data(), prompt.ids.size(), pixels.data(),
                                    pixels.size(), prompt.positions.mutable_data_ptr<std::int64_t>(),
                                    &prompt.next_position, error);
  });
}

}  // namespace

PixelsList::PixelsList(std::span<const PreparedImage* const> images) {
  pixels_.reserve(images.size());
  for (const PreparedImage* image : images) {
    graft_pixels pixels{};
    pixels.hdr = GRAFT_HDR(graft_pixels);
    pixels.values = lend(image->values);
    std::copy(image->grid.begin(), image->grid.end(), pixels.grid);
    pixels.n_tokens = image->n_tokens;
    pixels.processed_width = image->processed_width;
    pixels.processed_height = image->processed_height;
    pixels_.push_back(pixels);
    tokens_ += image->n_tokens;
  }
  for (const graft_pixels& pixels : pixels_) pointers_.push_back(&pixels);
}

std::string Model::render(const std::vector<Message>& messages, bool add_generation_prompt) const {
  const std::string given = messages_json(messages);
  std::string text;
  const graft_sink sink = plugin::string_sink(text);
  core_->family->call_on_user_data("render", [&](graft_error* error) {
    return core_->family->table().render(core_->family->instance(), view(given),
                                         add_generation_prompt ? 1 : 0, &sink, error);
  });
  return text;
}

Prompt Model::prepare(const std::vector<Message>& messages, std::span<const image::Image> images,
                      std::span<const std::string> image_names, bool add_generation_prompt) const {
  std::int64_t wanted = 0;
  for (const Message& message : messages) wanted += message.n_images;
  if (wanted != static_cast<std::int64_t>(images.size())) {
    throw UserError(cat("the messages speak of ", wanted, " images, but ", images.size(), " were given"));
  }
  Prompt prompt;
  prompt.text = render(messages, add_generation_prompt);
  prompt.images = preprocess_all(*core_->family, images, image_names);
  std::vector<const PreparedImage*> prepared;
  for (const PreparedImage& image : prompt.images) prepared.push_back(&image);
  const PixelsList pixels(prepared);
  prompt.ids = expand(*core_->family, tokenizer().encode(prompt.text), pixels);
  if (prompt.ids.empty()) throw UserError("the prompt is empty");
  prompt.image_rows = find_image_rows(prompt.ids, image_token_ids(), pixels.tokens());
  add_positions(*core_->family, position_rank(), pixels, prompt);
  return prompt;
}

}  // namespace graft::model
