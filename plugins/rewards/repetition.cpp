// SPDX-License-Identifier: Apache-2.0
// repetition: a penalty for saying the same again, in words or in boxes.
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <unordered_set>

#include "common/boxes.h"
#include "common/json.h"
#include "common/params.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace {

bool is_ideograph(char32_t c) {
  return (c >= 0x3400 && c <= 0x9FFF) || (c >= 0x3040 && c <= 0x30FF) || (c >= 0x20000 && c <= 0x3FFFF);
}

// Hashes of the words: runs without white space, in small letters; each Chinese or Japanese character is a word.
std::vector<std::uint64_t> word_hashes(std::string_view raw) {
  constexpr std::uint64_t kPrime = 1099511628211u, kStart = 14695981039346656037u;  // FNV-1a
  std::vector<std::uint64_t> words;
  std::uint64_t hash = kStart;
  bool in_word = false;
  const auto end_word = [&] {
    if (in_word) words.push_back(hash);
    hash = kStart;
    in_word = false;
  };
  for (const char32_t c : rewards::lower(rewards::decode(raw))) {
    if (rewards::is_space(c)) {
      end_word();
      continue;
    }
    if (is_ideograph(c)) end_word();
    hash = (hash ^ c) * kPrime;
    in_word = true;
    if (is_ideograph(c)) end_word();
  }
  end_word();
  return words;
}

// Share of n-grams that were there before; 0 with fewer than n words.
double repeated_share(const std::vector<std::uint64_t>& words, std::size_t n) {
  if (words.size() < n) return 0.0;
  std::unordered_set<std::uint64_t> distinct;
  const std::size_t total = words.size() - n + 1;
  distinct.reserve(total);
  for (std::size_t i = 0; i < total; ++i) {
    std::uint64_t hash = 0;
    for (std::size_t k = 0; k < n; ++k) hash = (hash + words[i + k]) * 0x9E3779B97F4A7C15u + (hash >> 29);
    distinct.insert(hash);
  }
  return 1.0 - static_cast<double>(distinct.size()) / static_cast<double>(total);
}

struct Repetition : graft::Reward {
  static constexpr auto name = "repetition";
  static constexpr auto summary =
      "minus the share of repeated n-grams, or of repeated boxes in a JSON answer";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;
  static constexpr double minimum = -1.0;
  static constexpr double maximum = 0.0;

  static graft::Schema params() {
    graft::Schema schema;
    schema.integer("ngram", 6, "words of an n-gram").minimum(1).maximum(64);
    return rewards::add_parity(schema);
  }

  explicit Repetition(const graft::Params& params)
      : parity_(rewards::wants_vlm_r1(params, Repetition::params())),
        ngram_(static_cast<std::size_t>(params.integer("ngram"))) {}

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_)
      return rewards::vlm_r1::scored([&] { return rewards::vlm_r1::repetition(item.completion()); });
    const double words = repeated_share(word_hashes(item.completion()), ngram_);
    return 0.0 - std::max(words, repeated_boxes(item.completion()));
  }

 private:
  // Of a JSON list of objects with boxes; 0 if there is none. Boxes are equal if their numbers and labels are.
  static double repeated_boxes(std::string_view text) {
    const std::size_t begin = text.find("\"bbox");
    if (begin == std::string_view::npos) return 0.0;
    const auto found = rewards::find_json(text);
    if (!found || !found->value.is_array()) return 0.0;
    std::unordered_set<std::string> distinct;
    std::size_t total = 0;
    for (const graft::Json& entry : found->value.items()) {
      const graft::Json* box = entry.find("bbox_2d");
      if (box == nullptr) box = entry.find("bbox");
      const auto numbers = box == nullptr ? std::nullopt : rewards::vlm_r1::four_numbers(*box);
      if (!numbers) continue;
      std::string key;
      for (const double value : *numbers) key += rewards::python_str(graft::Json(value)) + ",";
      if (const graft::Json* label = entry.find("label")) key += rewards::python_str(*label);
      distinct.insert(std::move(key));
      ++total;
    }
    return total == 0 ? 0.0 : 1.0 - static_cast<double>(distinct.size()) / static_cast<double>(total);
  }

  bool parity_;
  std::size_t ngram_;
};

}  // namespace

GRAFT_PLUGIN(Repetition);
