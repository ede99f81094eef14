// SPDX-License-Identifier: Apache-2.0
// Base class of families without images. A prompt with one is an error that names the family.
#pragma once

#include <graft/sdk/model_family.hpp>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/chat.h"
#include "common/decoder.h"

namespace families {

class TextFamily : public DecoderFamily {
 public:
  std::string render(const graft::Json& messages, bool add_generation_prompt) const override;
  graft::Pixels preprocess(const graft_image& image) const override;
  std::vector<std::int64_t> expand(const std::int64_t* ids, std::size_t n,
                                   const graft::PixelsList& images) const override;
  graft::PromptPositions positions(const std::int64_t* ids, std::size_t n,
                                   const graft::PixelsList& images) const override;
  graft::Tensor encode_images(const graft::Exec& exec, const graft::PixelsList& images) const override;

 protected:
  using Chat = std::variant<ChatMl, Llama3Chat>;

  // Reads config.json over `defaults`, declares the decoder and recognises the chat template, ChatML or Llama 3's; `chat`
  // stands in for a directory without one. `date` goes into Llama 3.1's.
  void open_text(const graft::FamilyFiles& files, const TextConfig& defaults, const Chat& chat,
                 const std::string& date = {});

 private:
  std::string family_;  // model_type, for messages
  Chat chat_;
};

}  // namespace families
