// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/added_tokens.h"
#include "text/byte_level.h"
#include "text/normalize.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace graft::text {

namespace {

// What an id stands for when decoding.
struct Token {
  std::string bytes;
  bool special = false;
};

}  // namespace

struct Tokenizer::State {
  explicit State(TokenizerDescription read) : description(std::move(read)) {
    index_tokens();
    index_added();
  }

  void index_tokens() {
    const auto slot = [this](std::int64_t id) -> Token& {
      const auto index = static_cast<std::size_t>(id);
      if (index >= tokens.size()) tokens.resize(index + 1);
      return tokens[index];
    };
    for (const auto& [spelled, id] : description.model.vocabulary()) {
      slot(id).bytes = unspell_bytes(spelled).value_or(spelled);
    }
    for (const AddedToken& token : description.added_tokens) {
      slot(token.id) = {unspell_bytes(token.content).value_or(token.content), token.special};
      added_ids.emplace(token.content, token.id);
    }
  }

  // Special tokens come first, as in `tokenizers`: they win if two normalize to the same text.
  void index_added() {
    for (const bool special : {true, false}) {
      for (const AddedToken& token : description.added_tokens) {
        if (token.special != special) continue;
        if (token.normalized) {
          in_normalized.add(token, normalize(token.content));
        } else {
          in_raw.add(token, token.content);
        }
      }
    }
  }

  std::string normalize(std::string_view text) const {
    return description.nfc ? to_nfc(text) : std::string(text);
  }

  const Token* find(std::int64_t id) const {
    return id >= 0 && id < std::ssize(tokens) ? &tokens[static_cast<std::size_t>(id)] : nullptr;
  }

  void encode_raw(std::string_view text, std::vector<std::int64_t>& ids) const {
    const std::string normalized = normalize(text);
    std::vector<Stretch> stretches;
    in_normalized.split(normalized, stretches);
    for (const Stretch& stretch : stretches) {
      if (stretch.token != nullptr) {
        ids.push_back(stretch.token->id);
      } else {
        encode_words(stretch.text, ids);
      }
    }
  }

  void encode_words(std::string_view text, std::vector<std::int64_t>& ids) const {
    std::vector<std::string_view> words = {text};
    const std::size_t own = description.splits.size() - (description.byte_level_split ? 1 : 0);
    for (std::size_t i = 0; i < own; ++i) words = split_each(words, i);
    std::vector<std::string> prefixed;
    if (description.add_prefix_space) {
      prefixed.reserve(words.size());
      for (std::string_view& word : words) {
        if (word.starts_with(' ')) continue;
        word = prefixed.emplace_back(" " + std::string(word));
      }
    }
    if (description.byte_level_split) words = split_each(words, own);
    for (const std::string_view word : words) description.model.encode_word(word, ids);
  }

  std::vector<std::string_view> split_each(const std::vector<std::string_view>& words,
                                           std::size_t index) const {
    std::vector<std::string_view> pieces;
    for (const std::string_view word : words) description.splits[index].split(word, pieces);
    return pieces;
  }

  TokenizerDescription description;
  std::vector<Token> tokens;  // by id; no bytes where no token has the id
  std::unordered_map<std::string, std::int64_t> added_ids;
  AddedTokenFinder in_raw;  // both point into description.added_tokens
  AddedTokenFinder in_normalized;
};

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  return Tokenizer(std::make_unique<const State>(read_tokenizer_json(tokenizer_json)));
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view utf8, bool add_special) const {
  const std::string text = to_well_formed(utf8);
  std::vector<Stretch> stretches;
  state_->in_raw.split(text, stretches);
  const TokenizerDescription& description = state_->description;
  std::vector<std::int64_t> ids;
  if (add_special) ids = description.before;
  for (const Stretch& stretch : stretches) {
    if (stretch.token != nullptr) {
      ids.push_back(stretch.token->id);
    } else {
      state_->encode_raw(stretch.text, ids);
    }
  }
  if (add_special) ids.insert(ids.end(), description.after.begin(), description.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special) const {
  std::string bytes;
  for (const std::int64_t id : ids) {
    const Token* token = state_->find(id);
    if (token != nullptr && !(skip_special && token->special)) bytes.append(token->bytes);
  }
  return to_well_formed(bytes);
}

std::string Tokenizer::token_bytes(std::int64_t id) const {
  const Token* token = state_->find(id);
  return token == nullptr ? std::string() : token->bytes;
}

std::optional<std::int64_t> Tokenizer::token_id(std::string_view token) const {
  const std::string key(token);
  if (const auto found = state_->added_ids.find(key); found != state_->added_ids.end()) return found->second;
  const auto& vocabulary = state_->description.model.vocabulary();
  if (const auto found = vocabulary.find(key); found != vocabulary.end()) return found->second;
  return std::nullopt;
}

std::int64_t Tokenizer::vocab_size() const {
  return std::ssize(state_->tokens);
}

bool Tokenizer::is_special(std::int64_t id) const {
  const Token* token = state_->find(id);
  return token != nullptr && token->special;
}

std::vector<std::int64_t> Tokenizer::special_ids() const {
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; id < vocab_size(); ++id) {
    if (is_special(id)) ids.push_back(id);
  }
  return ids;
}

}  // namespace graft::text
