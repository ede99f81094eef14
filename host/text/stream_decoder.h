// SPDX-License-Identifier: Apache-2.0
// Text of a growing sequence of ids, for printing while it is generated.
#pragma once

#include <cstdint>
#include <string>

namespace graft::text {

class Tokenizer;

// Gives out only complete characters: bytes of a character whose end has not come yet are held back. All
// pieces put together, finish() included, equal Tokenizer::decode() of all ids. One thread; `tokenizer` must
// outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  // The text that became certain with this id, often empty inside a multi-byte character.
  std::string push(std::int64_t id);

  // What is left at the end: nothing, or U+FFFD for an unfinished character. Ready for a new sequence after
  // it.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;  // at most three bytes between calls
};

}  // namespace graft::text
