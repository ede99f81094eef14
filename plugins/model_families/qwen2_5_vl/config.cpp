// SPDX-License-Identifier: Apache-2.0
#include "config.h"

#include <numeric>
#include <string>
#include <string_view>

namespace qwen2_5_vl {
namespace {

using graft::Error;
using graft::Json;

// One object of a file, with the place for messages. A null member counts as absent.
class Section {
 public:
  Section(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  [[nodiscard]] const Json* find(std::string_view key) const {
    const Json* value = json_.find(key);
    return value != nullptr && !value->is_null() ? value : nullptr;
  }
  [[nodiscard]] std::int64_t integer(std::string_view key) const { return read(key, &Json::as_int); }
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t fallback) const {
    return find(key) != nullptr ? integer(key) : fallback;
  }
  [[nodiscard]] double number(std::string_view key, double fallback) const {
    return find(key) != nullptr ? read(key, &Json::as_number) : fallback;
  }
  [[nodiscard]] bool boolean(std::string_view key, bool fallback) const {
    return find(key) != nullptr ? read(key, &Json::as_bool) : fallback;
  }
  [[nodiscard]] std::string string(std::string_view key, std::string_view fallback) const {
    return find(key) != nullptr ? read(key, &Json::as_string) : std::string(fallback);
  }
  [[nodiscard]] std::vector<double> numbers(std::string_view key, const std::vector<double>& fallback) const {
    return find(key) != nullptr ? list(key, &Json::as_number) : fallback;
  }
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key,
                                                   const std::vector<std::int64_t>& fallback) const {
    return find(key) != nullptr ? list(key, &Json::as_int) : fallback;
  }
  // A count of things: 1 or more.
  [[nodiscard]] std::int64_t count(std::string_view key) const {
    const std::int64_t value = integer(key);
    require(value > 0 && value < (std::int64_t{1} << 40), key,
            "is " + std::to_string(value) + ", expected 1 or more");
    return value;
  }
  [[nodiscard]] std::int64_t count(std::string_view key, std::int64_t fallback) const {
    return find(key) != nullptr ? count(key) : fallback;
  }
  void require(bool condition, std::string_view key, const std::string& problem) const {
    if (!condition) throw Error(where_ + ": " + std::string(key) + " " + problem);
  }

 private:
  template <typename Result>
  [[nodiscard]] Result read(std::string_view key, Result (Json::*as)() const) const {
    const Json* value = find(key);
    require(value != nullptr, key, "is missing");
    try {
      return (value->*as)();
    } catch (const Error& error) {
      throw Error(where_ + ": " + std::string(key) + ": " + error.what());
    }
  }
  template <typename Result>
  [[nodiscard]] std::vector<Result> list(std::string_view key, Result (Json::*as)() const) const {
    std::vector<Result> out;
    for (const Json& item : read(key, &Json::items)) out.push_back((item.*as)());
    return out;
  }

  const Json& json_;
  std::string where_;
};

Json parse_file(std::string_view text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const Error& error) {
    throw Error(where + ": " + error.what());
  }
}

// The rotary embedding's settings: rope_parameters (transformers 5) or rope_scaling beside rope_theta
// (published files).
void read_rope(const Section& text, const std::string& where, TextConfig& out) {
  const Json* rope = text.find("rope_parameters");
  if (rope == nullptr) rope = text.find("rope_scaling");
  out.rope_theta = text.number("rope_theta", 1e6);
  out.mrope_section = {16, 24, 24};
  if (rope != nullptr) {
    const Section section(*rope, where + ": rope parameters");
    out.rope_theta = section.number("rope_theta", out.rope_theta);
    out.mrope_section = section.integers("mrope_section", out.mrope_section);
    const std::string type = section.string("rope_type", section.string("type", "default"));
    section.require(type == "mrope" || type == "default", "rope_type",
                    "is \"" + type + "\"; this family offers \"mrope\" (also written \"default\") only");
  }
  const std::int64_t pairs =
      std::accumulate(out.mrope_section.begin(), out.mrope_section.end(), std::int64_t{0});
  text.require(pairs == out.head_dim / 2, "mrope_section",
               "adds up to " + std::to_string(pairs) + ", expected half the head dimension, " +
                   std::to_string(out.head_dim / 2));
}

TextConfig read_text(const Json& json, const std::string& where) {
  const Section text(json, where);
  TextConfig out;
  out.vocab_size = text.count("vocab_size");
  out.hidden_size = text.count("hidden_size");
  out.intermediate_size = text.count("intermediate_size");
  out.n_layers = text.count("num_hidden_layers");
  out.n_heads = text.count("num_attention_heads");
  out.n_kv_heads = text.count("num_key_value_heads", out.n_heads);
  out.rms_norm_eps = text.number("rms_norm_eps", 1e-5);
  out.initializer_range = text.number("initializer_range", 0.02);
  text.require(out.hidden_size % out.n_heads == 0, "hidden_size", "is no multiple of num_attention_heads");
  text.require(out.n_heads % out.n_kv_heads == 0, "num_attention_heads",
               "is no multiple of num_key_value_heads");
  out.head_dim = out.hidden_size / out.n_heads;
  const std::string act = text.string("hidden_act", "silu");
  text.require(act == "silu", "hidden_act", "is \"" + act + "\", expected \"silu\"");
  text.require(!text.boolean("use_sliding_window", false), "use_sliding_window",
               "is true; sliding-window attention is not offered");
  read_rope(text, where, out);
  return out;
}

VisionConfig read_vision(const Json& json, const std::string& where, std::int64_t text_width) {
  const Section vision(json, where);
  VisionConfig out;
  out.depth = vision.count("depth");
  out.hidden_size = vision.count("hidden_size");
  out.intermediate_size = vision.count("intermediate_size");
  out.n_heads = vision.count("num_heads");
  out.patch_size = vision.count("patch_size", 14);
  out.temporal_patch_size = vision.count("temporal_patch_size", 2);
  out.merge_size = vision.count("spatial_merge_size", 2);
  out.window_size = vision.count("window_size", 112);
  out.full_attention_blocks = vision.integers("fullatt_block_indexes", {7, 15, 23, 31});
  out.rope_theta = 10000.0;
  if (const Json* rope = vision.find("rope_parameters")) {
    out.rope_theta = Section(*rope, where + ": rope_parameters").number("rope_theta", out.rope_theta);
  }
  const std::int64_t channels =
      vision.integer("in_channels", vision.integer("in_chans", VisionConfig::kChannels));
  vision.require(channels == VisionConfig::kChannels, "in_channels",
                 "is " + std::to_string(channels) + ", expected 3");
  vision.require(out.hidden_size % (4 * out.n_heads) == 0, "hidden_size", "is no multiple of 4 · num_heads");
  vision.require(out.window_size >= out.patch_size * out.merge_size, "window_size",
                 "is smaller than one token");
  const std::int64_t width = vision.integer("out_hidden_size", text_width);
  vision.require(width == text_width, "out_hidden_size",
                 "is " + std::to_string(width) + ", expected the decoder's " + std::to_string(text_width));
  const std::string act = vision.string("hidden_act", "silu");
  vision.require(act == "silu", "hidden_act", "is \"" + act + "\", expected \"silu\"");
  out.head_dim = out.hidden_size / out.n_heads;
  return out;
}

ImageConfig read_image(std::string_view text, const VisionConfig& vision, const std::string& where) {
  ImageConfig out;
  if (text.empty()) return out;
  const Json json = parse_file(text, where);
  const Section file(json, where);
  if (const Json* size = file.find("size")) {
    const Section section(*size, where + ": size");
    out.min_pixels = section.count("shortest_edge", section.count("min_pixels", out.min_pixels));
    out.max_pixels = section.count("longest_edge", section.count("max_pixels", out.max_pixels));
  }
  out.min_pixels = file.count("min_pixels", out.min_pixels);
  out.max_pixels = file.count("max_pixels", out.max_pixels);
  file.require(out.min_pixels <= out.max_pixels, "min_pixels", "is larger than max_pixels");
  out.rescale_factor = file.number("rescale_factor", out.rescale_factor);
  const auto copy3 = [&](const char* key, double* values) {
    const std::vector<double> given = file.numbers(key, {values[0], values[1], values[2]});
    file.require(given.size() == 3, key, "has " + std::to_string(given.size()) + " numbers, expected 3");
    for (std::size_t i = 0; i < 3; ++i) values[i] = given[i];
  };
  copy3("image_mean", out.mean);
  copy3("image_std", out.std);
  const auto must_equal = [&](const char* key, std::int64_t expected) {
    const std::int64_t value = file.integer(key, expected);
    file.require(value == expected, key,
                 "is " + std::to_string(value) + ", but config.json says " + std::to_string(expected));
  };
  must_equal("patch_size", vision.patch_size);
  must_equal("temporal_patch_size", vision.temporal_patch_size);
  must_equal("merge_size", vision.merge_size);
  return out;
}

}  // namespace

Config read_config(const graft::FamilyFiles& files) {
  const std::string where = std::string(files.directory()) + "/config.json";
  const Json json = parse_file(files.config(), where);
  const Section root(json, where);
  const Json* nested = root.find("text_config");

  Config config;
  config.text = nested != nullptr ? read_text(*nested, where + ": text_config") : read_text(json, where);
  config.text.tie_word_embeddings =
      root.boolean("tie_word_embeddings", false) ||
      (nested != nullptr && Section(*nested, where + ": text_config").boolean("tie_word_embeddings", false));
  const Json* vision = root.find("vision_config");
  root.require(vision != nullptr, "vision_config", "is missing");
  config.vision = read_vision(*vision, where + ": vision_config", config.text.hidden_size);
  config.image = read_image(files.preprocessor_config(), config.vision,
                            std::string(files.directory()) + "/preprocessor_config.json");
  config.image_token = root.integer("image_token_id", files.token_id("<|image_pad|>"));
  config.video_token = root.integer("video_token_id", files.token_id("<|video_pad|>"));
  root.require(config.image_token >= 0, "image_token_id",
               "is missing, and the tokenizer has no <|image_pad|>");
  return config;
}

}  // namespace qwen2_5_vl
