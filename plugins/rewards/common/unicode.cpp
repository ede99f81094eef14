// SPDX-License-Identifier: Apache-2.0
#include "common/unicode.h"

#include <algorithm>
#include <iterator>

namespace rewards {
namespace {

struct MappingRun {
  std::uint32_t first, last, step;
  std::int32_t delta;
};
struct Expansion {
  std::uint32_t from, to[3];
};
struct Range {
  std::uint32_t first, last;
};
struct Zero {
  std::uint32_t code;
};

#include "common/unicode_tables.inc"

template <typename T, std::size_t N>
bool contains(const T (&ranges)[N], char32_t c) {
  const auto* after = std::upper_bound(std::begin(ranges), std::end(ranges), static_cast<std::uint32_t>(c),
                                       [](std::uint32_t v, const T& range) { return v < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

template <std::size_t N>
char32_t mapped(const MappingRun (&runs)[N], char32_t c) {
  const auto* after = std::upper_bound(std::begin(runs), std::end(runs), static_cast<std::uint32_t>(c),
                                       [](std::uint32_t v, const MappingRun& run) { return v < run.first; });
  if (after == std::begin(runs)) return c;
  const MappingRun& run = *std::prev(after);
  if (c > run.last || (c - run.first) % run.step != 0) return c;
  return static_cast<char32_t>(static_cast<std::int64_t>(c) + run.delta);
}

bool is_cased(char32_t c) {
  if (c < 0x80) return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  return contains(kCased, c);
}

bool is_ignored(char32_t c) {
  if (c < 0x80) return c == '\'' || c == '.' || c == ':' || c == '^' || c == '`';
  return contains(kIgnored, c);
}

constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2;

// Is the capital sigma at `at` at the end of a word: behind a cased letter, and not before one?
bool is_final_sigma(std::u32string_view text, std::size_t at) {
  std::size_t before = at;
  while (before > 0 && is_ignored(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = at + 1;
  while (after < text.size() && is_ignored(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

// Length of the sequence that a lead byte announces, its own bits, and the smallest code point of that length.
struct Lead {
  int length;
  char32_t bits, smallest;
};
Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte < 0xE0) return {2, byte & 0x1Fu, 0x80};
  if (byte >= 0xE0 && byte < 0xF0) return {3, byte & 0x0Fu, 0x800};
  if (byte >= 0xF0 && byte < 0xF5) return {4, byte & 0x07u, 0x10000};
  return {1, 0xFFFD, 0};
}

}  // namespace

char32_t decode_at(std::string_view text, std::size_t at, std::size_t& next) {
  const auto first = static_cast<unsigned char>(text[at]);
  next = at + 1;
  if (first < 0x80) return first;
  const Lead lead = lead_of(first);
  if (lead.length == 1 || text.size() - at < static_cast<std::size_t>(lead.length)) return 0xFFFD;
  char32_t c = lead.bits;
  for (int i = 1; i < lead.length; ++i) {
    const auto byte = static_cast<unsigned char>(text[at + static_cast<std::size_t>(i)]);
    if ((byte & 0xC0) != 0x80) return 0xFFFD;
    c = (c << 6) | (byte & 0x3F);
  }
  if (c < lead.smallest || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0xFFFD;
  next = at + static_cast<std::size_t>(lead.length);
  return c;
}

std::u32string decode(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::size_t next = 0;
    out += decode_at(text, at, next);
    at = next;
  }
  return out;
}

std::string encode(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

std::string valid_utf8(std::string_view text) {
  return encode(decode(text));
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

int digit_value(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9' ? static_cast<int>(c - '0') : -1;
  const auto* after =
      std::upper_bound(std::begin(kDigitZeros), std::end(kDigitZeros), static_cast<std::uint32_t>(c),
                       [](std::uint32_t v, const Zero& zero) { return v < zero.code; });
  if (after == std::begin(kDigitZeros)) return -1;
  const std::uint32_t offset = c - std::prev(after)->code;
  return offset < 10 ? static_cast<int>(offset) : -1;
}

std::u32string lower(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c < 0x80) {
      out += c >= 'A' && c <= 'Z' ? c + 32 : c;
    } else if (c == 0x130) {
      out += U"i\u0307";
    } else if (c == kSigma) {
      out += is_final_sigma(text, i) ? kFinalSigma : kSigma + 0x20;
    } else {
      out += mapped(kLower, c);
    }
  }
  return out;
}

std::u32string upper(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    if (c < 0x80) {
      out += c >= 'a' && c <= 'z' ? c - 32 : c;
      continue;
    }
    const auto* found = std::lower_bound(
        std::begin(kUpperExpansions), std::end(kUpperExpansions), static_cast<std::uint32_t>(c),
        [](const Expansion& expansion, std::uint32_t v) { return expansion.from < v; });
    if (found == std::end(kUpperExpansions) || found->from != c) {
      out += mapped(kUpper, c);
      continue;
    }
    for (const std::uint32_t to : found->to) {
      if (to != 0) out += static_cast<char32_t>(to);
    }
  }
  return out;
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t next = 0;
    if (!is_space(decode_at(text, at, next))) break;
    at = next;
  }
  return at;
}

std::size_t digit_at(std::string_view text, std::size_t at, int& value) {
  if (at >= text.size()) return 0;
  std::size_t next = 0;
  value = digit_value(decode_at(text, at, next));
  return value < 0 ? 0 : next - at;
}

std::string_view strip(std::string_view text) {
  text.remove_prefix(skip_spaces(text, 0));
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;  // of the last character
    for (int i = 0; i < 3 && begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80; ++i)
      --begin;
    std::size_t next = 0;
    if (!is_space(decode_at(text, begin, next)) || next != text.size()) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  const bool is_ascii = std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
  if (!is_ascii) return encode(lower(decode(text)));
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

}  // namespace rewards
