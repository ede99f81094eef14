// SPDX-License-Identifier: Apache-2.0
#include "common/mrope_family.h"

#include <algorithm>

namespace families {

using graft::Error;
using graft::PixelsList;

void MropeFamily::open_image_tokens(const Section& root, const graft::FamilyFiles& files,
                                    const ImageTokens& tokens) {
  tokens_ = tokens;
  image_token_ = root.integer("image_token_id", files.token_id(tokens.image));
  video_token_ = root.integer("video_token_id", files.token_id(tokens.video));
  root.require(image_token_ >= 0, "image_token_id", "is missing, and the tokenizer has no " + tokens.image);
  declare.image_token_ids = {image_token_};
  if (video_token_ >= 0) declare.image_token_ids.push_back(video_token_);
}

void MropeFamily::open_preprocessor(const graft::FamilyFiles& files, const ImageConfig& defaults,
                                    const PatchConfig& patches) {
  patches_ = patches;
  image_ = read_image_config(files.preprocessor_config(),
                             std::string(files.directory()) + "/preprocessor_config.json", defaults, patches);
}

graft::Pixels MropeFamily::preprocess(const graft_image& image) const {
  return cut_image(image, image_, patches_);
}

std::vector<std::int64_t> MropeFamily::expand(const std::int64_t* ids, std::size_t n,
                                              const PixelsList& images) const {
  const auto placeholders = static_cast<std::size_t>(std::count(ids, ids + n, image_token_));
  if (placeholders != images.size()) {
    throw Error("the prompt has " + std::to_string(placeholders) + " image placeholders (" + tokens_.image +
                ") but " + std::to_string(images.size()) + " images were given");
  }
  if (video_token_ >= 0 && std::find(ids, ids + n, video_token_) != ids + n) {
    throw Error(GRAFT_E_UNSUPPORTED,
                "the prompt has a video placeholder (" + tokens_.video + "); this family takes images");
  }
  std::vector<std::int64_t> out;
  std::uint32_t image = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_image = ids[i] == image_token_;
    out.insert(out.end(), is_image ? static_cast<std::size_t>(images[image++].n_tokens) : 1, ids[i]);
  }
  return out;
}

// M-RoPE: text counts on all three axes alike; an image's tokens have its start on the first axis and start +
// row, start + column on the others, and the text after it goes on behind the larger side.
graft::PromptPositions MropeFamily::positions(const std::int64_t* ids, std::size_t n,
                                              const PixelsList& images) const {
  graft::PromptPositions out;
  out.ids.resize(3 * n);
  std::int64_t* temporal = out.ids.data();
  std::int64_t* height = temporal + n;
  std::int64_t* width = height + n;
  std::int64_t next = 0;
  std::uint32_t image = 0;
  for (std::size_t i = 0; i < n;) {
    if (ids[i] != image_token_) {
      temporal[i] = height[i] = width[i] = next++;
      ++i;
      continue;
    }
    if (image == images.size()) throw Error("the prompt has more image tokens than its images take");
    const graft_pixels& pixels = images[image++];
    const std::int64_t rows = pixels.grid[1] / patches_.merge_size;
    const std::int64_t columns = pixels.grid[2] / patches_.merge_size;
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

Section vision_section(const Section& root) {
  const std::optional<Section> vision = root.child("vision_config");
  root.require(vision.has_value(), "vision_config", "is missing");
  return *vision;
}

Module language_module(graft::FamilyDeclarations& declare) {
  return {declare, "model.language_model.", {"model."}, GRAFT_COMPONENT_LANGUAGE};
}

Module visual_module(graft::FamilyDeclarations& declare) {
  return {declare, "model.visual.", {"visual."}, GRAFT_COMPONENT_VISION};
}

}  // namespace families
