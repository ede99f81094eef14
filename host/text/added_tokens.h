// SPDX-License-Identifier: Apache-2.0
// Tokens that are found in the text as they are, before any splitting ("<|image_pad|>").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace graft::text {

// One entry of tokenizer.json's added_tokens.
struct AddedToken {
  std::int64_t id = 0;
  std::string content;       // UTF-8, not empty
  bool special = false;      // left out by decode(skip_special)
  bool normalized = false;   // looked for after normalization, not before
  bool single_word = false;  // only where no letter, digit or mark touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
};

// A stretch of text: a token that was found there, or text still to be encoded.
struct Stretch {
  std::string_view text;
  const AddedToken* token = nullptr;
};

// Finds a set of tokens in texts, in linear time (times the length of the longest token). Immutable; const
// functions may run on several threads at once. The tokens must outlive it.
class AddedTokenFinder {
 public:
  // Looks for `spelling` of each token: its content, or its normalized content.
  void add(const AddedToken& token, std::string_view spelling);

  // Appends the stretches of `text` in order, none empty. Of the matches that begin first, the longest wins.
  void split(std::string_view text, std::vector<Stretch>& stretches) const;

 private:
  struct Match {
    const AddedToken* token;
    std::size_t begin;
    std::size_t end;
  };

  bool find(std::string_view text, std::size_t from, Match& match) const;
  std::int32_t child(std::int32_t node, char byte) const;

  // A trie: nodes are numbered, 0 is the root.
  std::unordered_map<std::uint64_t, std::int32_t> children_;  // by node and byte
  std::vector<const AddedToken*> ends_here_ = {nullptr};      // by node
  std::array<bool, 256> starts_ = {};                         // bytes that begin a token
};

}  // namespace graft::text
