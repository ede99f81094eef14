// SPDX-License-Identifier: Apache-2.0
// What Qwen2-VL and those that followed its pattern share between the prompt and the decoder: images in patches, image tokens,
// and the three rows of position ids of multimodal RoPE (Wang et al. 2024, arXiv:2409.12191).
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "common/decoder.h"
#include "common/pixels.h"
#include "common/vision.h"

namespace families {

// The tokens that stand for an image and a video in the family's tokenizer.
struct ImageTokens {
  std::string image, video;
};

// Base class of these families. They write render(), encode_images() and open(), which calls the functions below.
class MropeFamily : public DecoderFamily {
 public:
  graft::Pixels preprocess(const graft_image& image) const override;
  std::vector<std::int64_t> expand(const std::int64_t* ids, std::size_t n,
                                   const graft::PixelsList& images) const override;
  graft::PromptPositions positions(const std::int64_t* ids, std::size_t n,
                                   const graft::PixelsList& images) const override;

 protected:
  // The ids of these tokens, from config.json or the tokenizer.
  void open_image_tokens(const Section& root, const graft::FamilyFiles& files, const ImageTokens& tokens);
  // preprocessor_config.json.
  void open_preprocessor(const graft::FamilyFiles& files, const ImageConfig& defaults,
                         const PatchConfig& patches);

 private:
  ImageConfig image_;
  PatchConfig patches_;
  ImageTokens tokens_;
  std::int64_t image_token_ = -1, video_token_ = -1;
};

// The vision_config of config.json; an error if there is none.
[[nodiscard]] Section vision_section(const Section& root);

// The decoder's module: model.language_model in transformers 5, model in published files.
[[nodiscard]] Module language_module(graft::FamilyDeclarations& declare);
// The vision encoder's: model.visual, and visual in published files.
[[nodiscard]] Module visual_module(graft::FamilyDeclarations& declare);

}  // namespace families
