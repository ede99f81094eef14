// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/unicode_ranges.h"
#include "text/utf8.h"

namespace graft::text {

namespace {

std::uint64_t child_key(std::int32_t node, char byte) {
  return static_cast<std::uint64_t>(node) << 8 | static_cast<std::uint8_t>(byte);
}

// Word characters besides letters, marks, decimal digits and connectors: join controls, circled letters, and
// what the system's tables may be too old for.
bool is_further_word_character(char32_t code_point) {
  constexpr CodePointRange kOther[] = {
      {0x200C, 0x200D}, {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
  constexpr CodePointRange kKaktovikNumerals = {0x1D2C0, 0x1D2D3};  // not decimal
  if (code_point >= kKaktovikNumerals.first && code_point <= kKaktovikNumerals.last) return false;
  return in_ranges(kOther, code_point) || in_ranges(kLettersSinceUnicode15, code_point) ||
         in_ranges(kMarksSinceUnicode15, code_point) || in_ranges(kNumbersSinceUnicode15, code_point);
}

// `\w` of Rust's regex (Unicode TR18, annex C).
bool is_word_character(char32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return is_further_word_character(code_point);
  }
}

// Start of the last character before `end`, which is not 0.
std::size_t previous_character(std::string_view text, std::size_t end) {
  do --end;
  while (end > 0 && (static_cast<std::uint8_t>(text[end]) & 0xC0) == 0x80);
  return end;
}

char32_t code_point_at(std::string_view text, std::size_t pos) {
  return next_code_point(text, pos);
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word_character(code_point_at(text, previous_character(text, begin)))) ||
         (end < text.size() && is_word_character(code_point_at(text, end)));
}

std::size_t skip_space_back(std::string_view text, std::size_t pos, std::size_t limit) {
  while (pos > limit) {
    const std::size_t before = previous_character(text, pos);
    if (!in_ranges(kWhiteSpace, code_point_at(text, before))) break;
    pos = before;
  }
  return std::max(pos, limit);
}

std::size_t skip_space(std::string_view text, std::size_t pos) {
  while (pos < text.size()) {
    std::size_t after = pos;
    if (!in_ranges(kWhiteSpace, next_code_point(text, after))) break;
    pos = after;
  }
  return pos;
}

}  // namespace

std::int32_t AddedTokenFinder::child(std::int32_t node, char byte) const {
  const auto found = children_.find(child_key(node, byte));
  return found == children_.end() ? -1 : found->second;
}

void AddedTokenFinder::add(const AddedToken& token, std::string_view spelling) {
  if (spelling.empty()) return;
  starts_[static_cast<std::uint8_t>(spelling.front())] = true;
  std::int32_t node = 0;
  for (const char byte : spelling) {
    const auto fresh = static_cast<std::int32_t>(ends_here_.size());
    const auto [entry, inserted] = children_.try_emplace(child_key(node, byte), fresh);
    if (inserted) ends_here_.push_back(nullptr);
    node = entry->second;
  }
  // Two tokens can normalize to the same text; the first one keeps it.
  if (ends_here_[static_cast<std::size_t>(node)] == nullptr)
    ends_here_[static_cast<std::size_t>(node)] = &token;
}

bool AddedTokenFinder::find(std::string_view text, std::size_t from, Match& match) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<std::uint8_t>(text[begin])]) continue;
    match.token = nullptr;
    std::int32_t node = 0;
    for (std::size_t end = begin; end < text.size(); ++end) {
      node = child(node, text[end]);
      if (node < 0) break;
      if (const AddedToken* token = ends_here_[static_cast<std::size_t>(node)]; token != nullptr) {
        match = {token, begin, end + 1};
      }
    }
    if (match.token != nullptr) return true;
  }
  return false;
}

void AddedTokenFinder::split(std::string_view text, std::vector<Stretch>& stretches) const {
  std::size_t done = 0;
  Match match{};
  for (std::size_t from = 0; find(text, from, match); from = match.end) {
    std::size_t begin = match.begin;
    std::size_t end = match.end;
    if (match.token->single_word && touches_word(text, begin, end)) continue;
    // Space that an earlier token took is not taken twice.
    if (match.token->lstrip) begin = skip_space_back(text, begin, std::min(done, begin));
    if (match.token->rstrip) end = skip_space(text, end);
    if (begin > done) stretches.push_back({text.substr(done, begin - done)});
    stretches.push_back({text.substr(begin, end - begin), match.token});
    done = end;
  }
  if (done < text.size()) stretches.push_back({text.substr(done)});
}

}  // namespace graft::text
