// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE as published in tokenizer.json of Qwen, GPT-2, Llama-3, GLM-4 and relatives: NFC or no normalizer,
// a split expression, byte-level BPE, added tokens, a template around the text. Ids equal those of the `tokenizers` library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft::text {

// Immutable after load(): every const function may run on any number of threads at once. Movable, not
// copyable.
class Tokenizer {
 public:
  // Reads a Hugging Face tokenizer.json. Throws support::UserError naming the file and the key for a file
  // that is missing or malformed, and for any part of the pipeline that would change ids and is not
  // implemented here (other normalizers, pre-tokenizers, decoders, post-processors or model types).
  static Tokenizer load(const std::filesystem::path& tokenizer_json);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Ids of a text. Added tokens ("<|im_end|>") in the text become their ids. `add_special` puts around it what the
  // file's post-processor does, such as Llama-3's <|begin_of_text|>; chat templates write such tokens themselves.
  // Ill-formed UTF-8 is read as U+FFFD, as Python's errors="replace" does. Any length; time is O(n log n).
  [[nodiscard]] std::vector<std::int64_t> encode(std::string_view utf8, bool add_special = false) const;

  // Text of ids. Ids outside the vocabulary are passed over, as in `tokenizers`; bytes that form no character
  // become U+FFFD; `skip_special` leaves out special tokens.
  [[nodiscard]] std::string decode(std::span<const std::int64_t> ids, bool skip_special) const;

  // The bytes one id stands for: possibly part of a character. Empty for an id outside the vocabulary.
  [[nodiscard]] std::string token_bytes(std::int64_t id) const;

  // Id of a token as written in tokenizer.json (added tokens: their text; others: the byte-level spelling,
  // "Ġthe").
  [[nodiscard]] std::optional<std::int64_t> token_id(std::string_view token) const;

  // One more than the largest id, added tokens included. The model's logits may be wider (padding rows).
  [[nodiscard]] std::int64_t vocab_size() const;

  // True for added tokens marked special.
  [[nodiscard]] bool is_special(std::int64_t id) const;

  // Ids of all special tokens, ascending.
  [[nodiscard]] std::vector<std::int64_t> special_ids() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace graft::text
