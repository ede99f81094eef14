// SPDX-License-Identifier: Apache-2.0
#include "common/text_family.h"

#include <numeric>

namespace families {

using graft::PixelsList;

void TextFamily::open_text(const graft::FamilyFiles& files, const TextConfig& defaults, const Chat& chat,
                           const std::string& date) {
  const ConfigFile config(files);
  const Section root = config.root();
  family_ = root.string("model_type", "of this checkpoint");
  open_decoder(read_text_config(root, defaults), Module(declare, "model.", {}, GRAFT_COMPONENT_LANGUAGE));
  chat_ = chat;
  const std::string_view given = files.chat_template();
  if (given.empty()) return;
  if (const std::optional<Llama3Chat> llama3 = recognise_llama3(files, date)) {
    chat_ = *llama3;
  } else if (const std::optional<ChatMl> recognised = recognise_chatml(given)) {
    chat_ = *recognised;
  } else {
    refuse_template(files);
  }
}

std::string TextFamily::render(const graft::Json& messages, bool add_generation_prompt) const {
  const ImageText no_images{{}, family_};
  return std::visit([&](const auto& chat) { return chat.render(messages, add_generation_prompt, no_images); },
                    chat_);
}

graft::Pixels TextFamily::preprocess(const graft_image&) const {
  refuse_images(family_);
}

graft::Tensor TextFamily::encode_images(const graft::Exec&, const PixelsList&) const {
  refuse_images(family_);
}

std::vector<std::int64_t> TextFamily::expand(const std::int64_t* ids, std::size_t n,
                                             const PixelsList& images) const {
  if (images.size() != 0) refuse_images(family_);
  return {ids, ids + n};
}

graft::PromptPositions TextFamily::positions(const std::int64_t*, std::size_t n, const PixelsList&) const {
  graft::PromptPositions out;
  out.ids.resize(n);
  std::iota(out.ids.begin(), out.ids.end(), std::int64_t{0});
  out.next = static_cast<std::int64_t>(n);
  return out;
}

}  // namespace families
