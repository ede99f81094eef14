// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <cstddef>
#include <functional>
#include <queue>
#include <utility>

#include "support/error.h"
#include "support/strings.h"
#include "text/byte_level.h"

namespace graft::text {

namespace {

constexpr std::int32_t kNone = -1;

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

// A word while it is being merged: symbols in a linked list over a vector, and the merges that may come next.
struct Bpe::Word {
  struct Symbol {
    std::int32_t id;
    std::int32_t previous;
    std::int32_t next;
    bool alive;
  };
  struct Candidate {
    std::int32_t rank;
    std::int32_t position;  // of the left symbol
    std::int32_t id;        // of the result
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };

  explicit Word(const Bpe& owner) : bpe(owner) {}

  void append(std::int32_t id) {
    const auto position = static_cast<std::int32_t>(symbols.size());
    if (position > 0) symbols.back().next = position;
    symbols.push_back({id, position - 1, kNone, true});
  }

  void propose(std::int32_t position) {
    const Symbol& left = symbols[static_cast<std::size_t>(position)];
    if (left.next == kNone) return;
    const Merge* merge = bpe.find_merge(left.id, symbols[static_cast<std::size_t>(left.next)].id);
    if (merge != nullptr) candidates.push({merge->rank, position, merge->id});
  }

  // A candidate may be out of date: its symbol gone, or its neighbour changed. It still stands if the two
  // symbols there now merge into the same token.
  bool stands(const Candidate& candidate) const {
    const Symbol& left = symbols[static_cast<std::size_t>(candidate.position)];
    if (!left.alive || left.next == kNone) return false;
    const Merge* merge = bpe.find_merge(left.id, symbols[static_cast<std::size_t>(left.next)].id);
    return merge != nullptr && merge->id == candidate.id;
  }

  void apply(const Candidate& candidate) {
    Symbol& left = symbols[static_cast<std::size_t>(candidate.position)];
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.id = candidate.id;
    left.next = right.next;
    right.alive = false;
    if (right.next != kNone) symbols[static_cast<std::size_t>(right.next)].previous = candidate.position;
    if (left.previous != kNone) propose(left.previous);
    propose(candidate.position);
  }

  void merge_all() {
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<std::int32_t>(i));
    while (!candidates.empty()) {
      const Candidate best = candidates.top();
      candidates.pop();
      if (stands(best)) apply(best);
    }
  }

  const Bpe& bpe;
  std::vector<Symbol> symbols;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
};

Bpe::Bpe(Vocabulary vocabulary, const std::vector<Pair>& merges, bool ignore_merges)
    : vocabulary_(std::move(vocabulary)), ignore_merges_(ignore_merges) {
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::int32_t left_id = id_of(left, rank);
    const std::int32_t right_id = id_of(right, rank);
    merges_[pair_key(left_id, right_id)] = {static_cast<std::int32_t>(rank), id_of(left + right, rank)};
  }
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = vocabulary_.find(std::string(byte_spelling(static_cast<std::uint8_t>(byte))));
    byte_ids_[byte] = found == vocabulary_.end() ? kNone : found->second;
  }
}

std::int32_t Bpe::id_of(const std::string& token, std::size_t rank) const {
  const auto found = vocabulary_.find(token);
  if (found == vocabulary_.end()) {
    throw support::UserError(
        support::cat("merge ", rank, " needs the token \"", token, "\", which the vocabulary does not have"));
  }
  return found->second;
}

const Bpe::Merge* Bpe::find_merge(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  if (ignore_merges_) {
    if (const auto found = vocabulary_.find(spell_bytes(word)); found != vocabulary_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  Word state(*this);
  state.symbols.reserve(word.size());
  for (const char byte : word) {
    const std::int32_t id = byte_ids_[static_cast<std::uint8_t>(byte)];
    if (id != kNone) state.append(id);
  }
  state.merge_all();
  for (const Word::Symbol& symbol : state.symbols) {
    if (symbol.alive) ids.push_back(symbol.id);
  }
}

}  // namespace graft::text
