// SPDX-License-Identifier: Apache-2.0
// InternVL 2.5, 3 and 3.5 in transformers' layout (Chen et al. 2024, arXiv:2412.05271; Zhu et al. 2025, arXiv:2504.10479; Wang et
// al. 2025, arXiv:2508.18265), with the arithmetic of transformers' InternVLForConditionalGeneration: tiles of an image go through
// InternViT one by one, four patches become a token, and the decoder is that of Qwen2, Qwen3 or Llama.
#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "common/chat.h"
#include "common/decoder.h"
#include "config.h"
#include "tiles.h"
#include "vision.h"

namespace internvl {

using families::Module;
using families::Section;
using graft::Error;
using graft::TensorList;
namespace ops = graft::ops;

namespace {

constexpr const char* kImageToken = "<IMG_CONTEXT>";

class Family final : public families::DecoderFamily {
 public:
  static constexpr auto name = "internvl";
  static constexpr auto summary =
      "InternVL 2.5, 3 and 3.5: images in tiles and text, decoder of Qwen2, Qwen3 or Llama";
  static bool probe(const graft::Json& config) {
    return families::is_config_of(config, name, "InternVLForConditionalGeneration");
  }

  void open(const graft::FamilyFiles& files) override;
  std::string render(const graft::Json& messages, bool add_generation_prompt) const override;
  graft::Pixels preprocess(const graft_image& image) const override {
    return cut_tiles(image, tiles_, vision_);
  }
  std::vector<std::int64_t> expand(const std::int64_t* ids, std::size_t n,
                                   const PixelsList& images) const override;
  graft::PromptPositions positions(const std::int64_t* ids, std::size_t n,
                                   const PixelsList& images) const override;
  Tensor encode_images(const Exec& exec, const PixelsList& images) const override;
  Tensor decode(const Exec& exec, const graft::DecodeInput& input) const override;

 private:
  void open_chat(const graft::FamilyFiles& files);
  void open_tokens(const Section& root, const graft::FamilyFiles& files);
  void declare_vision(std::int64_t text_width);
  void check_length(std::int64_t n) const;

  // Segment bodies; the tag is the index of the block. in: hidden [T, D], ends of the tiles
  Tensor block(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    const families::BlockSegments& segments = blocks_[index].segments;
    const Tensor hidden = exec.segment<&Family::block_attention>(segments.attn, index, {in[0], in[1]});
    return exec.segment<&Family::block_mlp>(segments.mlp, index, {hidden});
  }
  Tensor block_attention(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    return blocks_[index].attention_part(exec, in[0], in[1], vision_.n_heads);
  }
  Tensor block_mlp(const Exec& exec, std::uint64_t index, const TensorList& in) const {
    return blocks_[index].mlp_part(exec, in[0]);
  }

  VisionConfig vision_;
  TileConfig tiles_;
  families::ChatMl chat_;
  std::int64_t image_token_ = -1, start_token_ = -1, end_token_ = -1, video_token_ = -1;
  Embeddings embeddings_;
  std::vector<Block> blocks_;
  std::optional<families::LayerNorm> final_norm_;
  Projector projector_{};
};

// ---- opening ----------------------------------------------------------------------------------------------

void Family::open(const graft::FamilyFiles& files) {
  const families::ConfigFile config(files);
  const Section root = config.root();
  const families::TextConfig text = read_text(root);
  vision_ = read_vision(root);
  tiles_ = read_tiles(files.preprocessor_config(),
                      std::string(files.directory()) + "/preprocessor_config.json", vision_);
  open_chat(files);
  open_tokens(root, files);
  open_decoder(text, {declare, "model.language_model.", {"language_model.model."}, GRAFT_COMPONENT_LANGUAGE},
               0, head_names(root, text));
  declare_vision(text.hidden_size);
  declare.grounding_space = GRAFT_SPACE_PER_MILLE;
  declare.grounding_format =
      "a list of boxes behind what they show, corners in thousandths of the image's width and height, "
      "<ref>…</ref><box>[[x1, y1, x2, y2]]</box>";
}

void Family::open_chat(const graft::FamilyFiles& files) {
  const std::string_view given = files.chat_template();
  if (given.empty()) return;
  const std::optional<families::ChatMl> recognised =
      families::recognise_chatml(given, std::string(kImageToken) + "\n");
  if (!recognised) families::refuse_template(files);
  chat_ = *recognised;
}

void Family::open_tokens(const Section& root, const graft::FamilyFiles& files) {
  image_token_ = root.integer("image_token_id", files.token_id(kImageToken));
  root.require(image_token_ >= 0, "image_token_id",
               std::string("is missing, and the tokenizer has no ") + kImageToken);
  start_token_ = files.token_id("<img>");
  end_token_ = files.token_id("</img>");
  video_token_ = files.token_id("<video>");
  declare.image_token_ids = {image_token_};
}

void Family::declare_vision(std::int64_t text_width) {
  const Module tower(declare, "model.vision_tower.", {"vision_tower."}, GRAFT_COMPONENT_VISION);
  embeddings_.declare(tower.child("embeddings"), vision_, tiles_.side / vision_.patch_size);
  for (std::int64_t i = 0; i < vision_.depth; ++i) {
    blocks_.push_back(Block::declare(tower.child("encoder.layer." + std::to_string(i)), vision_, i));
  }
  if (vision_.has_final_norm) {
    final_norm_ = families::LayerNorm::declare(tower, "layernorm", vision_.hidden_size);
  }
  const Module projector(declare, "model.multi_modal_projector.", {"multi_modal_projector."},
                         GRAFT_COMPONENT_PROJECTOR);
  projector_ = Projector::declare(projector, vision_, text_width);
}

// ---- prompts ----------------------------------------------------------------------------------------------

std::string Family::render(const graft::Json& messages, bool add_generation_prompt) const {
  return chat_.render(messages, add_generation_prompt, {std::string(kImageToken) + "\n", {}});
}

// The processor puts <img> and </img> around an image's tokens.
std::vector<std::int64_t> Family::expand(const std::int64_t* ids, std::size_t n,
                                         const PixelsList& images) const {
  const auto placeholders = static_cast<std::size_t>(std::count(ids, ids + n, image_token_));
  if (placeholders != images.size()) {
    throw Error("the prompt has " + std::to_string(placeholders) + " image placeholders (" + kImageToken +
                ") but " + std::to_string(images.size()) + " images were given");
  }
  if (video_token_ >= 0 && std::find(ids, ids + n, video_token_) != ids + n) {
    throw Error(GRAFT_E_UNSUPPORTED,
                "the prompt has a video placeholder (<video>); this family takes images");
  }
  if (placeholders > 0 && (start_token_ < 0 || end_token_ < 0)) {
    throw Error("the tokenizer has no <img> and </img>, which stand around an image");
  }
  std::vector<std::int64_t> out;
  std::uint32_t image = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] != image_token_) {
      out.push_back(ids[i]);
      continue;
    }
    out.push_back(start_token_);
    out.insert(out.end(), static_cast<std::size_t>(images[image++].n_tokens), image_token_);
    out.push_back(end_token_);
  }
  return out;
}

graft::PromptPositions Family::positions(const std::int64_t*, std::size_t n, const PixelsList&) const {
  check_length(static_cast<std::int64_t>(n));
  graft::PromptPositions out;
  out.ids.resize(n);
  std::iota(out.ids.begin(), out.ids.end(), std::int64_t{0});
  out.next = static_cast<std::int64_t>(n);
  return out;
}

void Family::check_length(std::int64_t n) const {
  const std::int64_t limit = text().rope.n_positions;
  if (limit == 0 || n <= limit) return;
  throw Error(GRAFT_E_UNSUPPORTED,
              "a sequence has " + std::to_string(n) + " tokens, but max_position_embeddings is " +
                  std::to_string(limit) +
                  ", and the rope_type \"dynamic\" of config.json is not offered beyond that");
}

// ---- forward ----------------------------------------------------------------------------------------------

Tensor Family::encode_images(const Exec& exec, const PixelsList& images) const {
  if (images.size() == 0) throw Error("encode_images was called without images");
  std::int64_t n_tiles = 0;
  for (std::uint32_t i = 0; i < images.size(); ++i) n_tiles += images[i].grid[0];

  Tensor hidden = embeddings_(exec, images);  // [N · (1 + P), D]
  const std::int64_t tokens = hidden.size(0) / n_tiles;
  std::vector<std::int64_t> ends;
  for (std::int64_t i = 1; i <= n_tiles; ++i) ends.push_back(i * tokens);
  const Tensor tile_ends = Tensor::from(ends);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    hidden = exec.segment<&Family::block>(blocks_[i].segments.whole, i, {hidden, tile_ends});
  }
  if (final_norm_) hidden = (*final_norm_)(exec, hidden, vision_.norm_eps);
  const Tensor by_tile = ops::view(hidden, {n_tiles, tokens, vision_.hidden_size});
  return projector_(exec, ops::narrow(by_tile, 1, 1, tokens - 1));  // without the class tokens
}

Tensor Family::decode(const Exec& exec, const graft::DecodeInput& input) const {
  if (text().rope.n_positions > 0) {
    static const graft::Op max("aten::max");
    const Tensor last = ops::to_device_of(max({input.positions}), Tensor::from(std::vector<std::int64_t>{0}));
    check_length(*last.data<std::int64_t>() + 1);
  }
  return DecoderFamily::decode(exec, input);
}

}  // namespace
}  // namespace internvl

GRAFT_PLUGIN(internvl::Family);
