// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding (Sennrich et al., arXiv:1508.07909) of one word over a byte-level vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace graft::text {

// Immutable after construction; const functions may run on several threads at once.
class Bpe {
 public:
  using Vocabulary = std::unordered_map<std::string, std::int32_t>;  // spelled token -> id
  struct Pair {
    std::string left;
    std::string right;
  };

  // `merges` in order of rank. Throws support::UserError naming a merge whose parts or result have no id.
  // With `ignore_merges`, a whole word that is in the vocabulary is one token whatever the merges say.
  Bpe(Vocabulary vocabulary, const std::vector<Pair>& merges, bool ignore_merges);

  // Appends the ids of `word`, raw bytes. The pair of lowest rank is merged first, the leftmost of equals;
  // O(n log n) in the length of the word. A byte without a token of its own gives none, as in `tokenizers`.
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const;

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    std::int32_t rank;
    std::int32_t id;  // of the result
  };
  struct Word;

  [[nodiscard]] const Merge* find_merge(std::int32_t left, std::int32_t right) const;
  [[nodiscard]] std::int32_t id_of(const std::string& token, std::size_t rank) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by both ids
  std::array<std::int32_t, 256> byte_ids_{};         // -1 for none
  bool ignore_merges_;
};

}  // namespace graft::text
