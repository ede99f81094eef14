// SPDX-License-Identifier: Apache-2.0
#include "config.h"

#include <limits>
#include <optional>
#include <vector>

namespace internvl {

using families::Section;

namespace {

// A side of something square, written as a number or as [height, width].
std::int64_t read_side(const Section& section, std::string_view key, std::int64_t fallback) {
  const graft::Json* value = section.find(key);
  if (value == nullptr || !value->is_array()) return section.count(key, fallback);
  const std::vector<std::int64_t> sides = section.integers(key, {});
  section.require(sides.size() == 2 && sides[0] == sides[1] && sides[0] > 0, key,
                  "is not the two equal sides of a square");
  return sides[0];
}

// 1 / downsample_ratio.
std::int64_t read_merge_size(const Section& root) {
  const double ratio = root.number("downsample_ratio", 0.5);
  root.require(ratio > 0.0 && ratio <= 1.0, "downsample_ratio", "is not above 0 and at most 1");
  const auto merge = static_cast<std::int64_t>(1.0 / ratio);
  root.require(ratio * static_cast<double>(merge) == 1.0, "downsample_ratio",
               "is " + std::to_string(ratio) + ", expected 1 divided by a whole number");
  return merge;
}

// A key that transformers' image processor takes as true.
void expect_true(const Section& file, std::string_view key) {
  file.require(file.boolean(key, true), key, "is false, expected true");
}

}  // namespace

families::TextConfig read_text(const Section& root) {
  const std::optional<Section> text = root.child("text_config");
  root.require(text.has_value(), "text_config", "is missing");
  families::TextConfig defaults =
      families::decoder_defaults(text->string("model_type", "qwen2"), text->where());
  defaults.rope.takes_dynamic = true;
  families::TextConfig out = families::read_text_config(root, defaults);
  // Published files say it of the decoder. transformers 5 writes it at the top too, where its default is true.
  const bool at_top = root.boolean("tie_word_embeddings", false);
  out.tie_word_embeddings = text->boolean("tie_word_embeddings", at_top);
  return out;
}

std::vector<std::string> head_names(const Section& root, const families::TextConfig& text) {
  std::vector<std::string> names = {"language_model.lm_head.weight"};
  if (root.boolean("tie_word_embeddings", false) && !text.tie_word_embeddings) {
    names.insert(names.end(),
                 {"language_model.model.embed_tokens.weight", "model.language_model.embed_tokens.weight"});
  }
  return names;
}

VisionConfig read_vision(const Section& root) {
  const std::optional<Section> found = root.child("vision_config");
  root.require(found.has_value(), "vision_config", "is missing");
  const Section& vision = *found;
  VisionConfig out;
  out.temporal_patch_size = 1;
  out.patch_size = read_side(vision, "patch_size", 14);
  out.merge_size = read_merge_size(root);
  out.image_side = read_side(vision, "image_size", 448);
  out.depth = vision.count("num_hidden_layers");
  out.hidden_size = vision.count("hidden_size");
  out.intermediate_size = vision.count("intermediate_size");
  out.n_heads = vision.count("num_attention_heads");
  out.norm_eps = vision.number("layer_norm_eps", out.norm_eps);
  out.has_qkv_bias = vision.boolean("attention_bias", false);
  out.has_qk_norm = vision.boolean("use_qk_norm", false);
  out.has_positions = vision.boolean("use_absolute_position_embeddings", true);
  out.has_final_norm = !vision.boolean("use_mean_pooling", true);
  const std::string norm = vision.string("norm_type", "layer_norm");
  out.uses_rms_norm = norm == "rms_norm";
  vision.require(out.uses_rms_norm || norm == "layer_norm", "norm_type",
                 "is \"" + norm + "\", expected \"layer_norm\" or \"rms_norm\"");
  vision.require(out.hidden_size % out.n_heads == 0, "hidden_size", "is no multiple of num_attention_heads");
  vision.require(!vision.boolean("use_mask_token", false), "use_mask_token", "is true, expected false");
  vision.expect("hidden_act", "gelu");
  vision.expect("num_channels", families::PatchConfig::kChannels);
  root.expect("projector_hidden_act", "gelu");
  root.expect("vision_feature_layer", -1);
  root.expect("vision_feature_select_strategy", "default");
  return out;
}

TileConfig read_tiles(std::string_view text, const std::string& where, const VisionConfig& vision) {
  TileConfig out;
  out.side = vision.image_side;
  if (text.empty()) {  // as the published files have it
    out.values.mean[0] = 0.485, out.values.mean[1] = 0.456, out.values.mean[2] = 0.406;
    out.values.std[0] = 0.229, out.values.std[1] = 0.224, out.values.std[2] = 0.225;
    return out;
  }
  families::ImageConfig defaults;
  defaults.min_pixels = 1;
  defaults.max_pixels = std::numeric_limits<std::int64_t>::max();
  out.values = families::read_image_config(text, where, defaults, vision);
  const graft::Json json = families::parse_file(text, where);
  const Section file(json, where);
  for (const char* key : {"do_resize", "do_rescale", "do_normalize"}) expect_true(file, key);
  file.expect("resample", 3);  // bicubic
  out.side = 384;              // the image processor's own default
  if (const std::optional<Section> size = file.child("size")) {
    out.side = size->count("height");
    size->expect("width", out.side);
  }
  const std::int64_t token = vision.patch_size * vision.merge_size;
  file.require(out.side % token == 0, "size",
               "is " + std::to_string(out.side) + ", expected a multiple of a token's side, " +
                   std::to_string(token) + " pixels");
  out.min_tiles = file.count("min_patches", out.min_tiles);
  out.max_tiles = file.count("max_patches", out.max_tiles);
  // Limits of pixels are limits of tiles here.
  const std::int64_t area = out.side * out.side;
  if (file.find("min_pixels") != nullptr) out.min_tiles = (out.values.min_pixels + area - 1) / area;
  if (file.find("max_pixels") != nullptr) out.max_tiles = out.values.max_pixels / area;
  file.require(out.max_tiles > 0, "max_pixels",
               "is " + std::to_string(out.values.max_pixels) + ", less than the " + std::to_string(area) +
                   " of one tile");
  file.require(out.min_tiles <= out.max_tiles, "max_patches",
               "is " + std::to_string(out.max_tiles) + ", less than min_patches, " +
                   std::to_string(out.min_tiles) + " (limits of pixels count as tiles of " +
                   std::to_string(area) + ")");
  return out;
}

}  // namespace internvl
