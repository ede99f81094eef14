// SPDX-License-Identifier: Apache-2.0
#include "common/vlm_r1.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <unordered_map>
#include <unordered_set>

#include "common/json.h"
#include "common/parts.h"
#include "common/unicode.h"

namespace rewards::vlm_r1 {
namespace {

constexpr std::string_view kOpen = "<answer>", kClose = "</answer>", kJsonFence = "```json", kFence = "```";

// For each of the two line ends: dropped behind white space, else a space.
std::u32string without_line_ends(std::u32string_view text) {
  std::u32string current(text);
  for (const char32_t line_end : {U'\n', U'\r'}) {
    std::u32string next;
    next.reserve(current.size());
    for (std::size_t i = 0; i < current.size(); ++i) {
      if (current[i] != line_end) {
        next += current[i];
      } else if (i == 0 || !is_space(current[i - 1])) {
        next += U' ';
      }
    }
    current = std::move(next);
  }
  return current;
}

// str.split(): words between white space.
std::vector<std::u32string_view> words_of(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (std::size_t at = 0; at < text.size();) {
    while (at < text.size() && is_space(text[at])) ++at;
    const std::size_t begin = at;
    while (at < text.size() && !is_space(text[at])) ++at;
    if (at > begin) words.push_back(text.substr(begin, at - begin));
  }
  return words;
}

double choice_score(std::u32string_view text, char32_t letter) {
  static constexpr std::array<std::u32string_view, 16> kKeywords = {
      U"答案",   U"选择",  U"正确", U"是",   U"对",   U"ANSWER", U"CORRECT", U"CHOOSE",
      U"SELECT", U"RIGHT", U"认为", U"应该", U"觉得", U"THINK",  U"BELIEVE", U"SHOULD"};
  const std::size_t at = text.find(letter);
  const std::size_t begin = at > 20 ? at - 20 : 0;
  const std::u32string_view context = text.substr(begin, at + 20 - begin);
  double score = 0;
  for (const std::u32string_view keyword : kKeywords) {
    if (context.find(keyword) != std::u32string_view::npos) score += 1;
  }
  if (static_cast<double>(at) > static_cast<double>(text.size()) * 0.7) score += 2;
  constexpr std::u32string_view kStops = U"。.!！,，";
  if (at + 1 < text.size() && kStops.find(text[at + 1]) != std::u32string_view::npos) score += 1;
  return score;
}

// Digits with single underscores between them, from `at` on; true if there is at least one.
bool take_digits(const std::string& text, std::size_t& at, std::string& out) {
  const auto is_digit = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  if (!is_digit(at)) return false;
  while (is_digit(at) || (at < text.size() && text[at] == '_' && is_digit(at + 1))) {
    if (text[at] != '_') out += text[at];
    ++at;
  }
  return true;
}

}  // namespace

std::string tagged(std::string_view solution) {
  if (solution.find(kOpen) != kNone) return std::string(solution);
  return "<answer> " + std::string(solution) + " </answer>";
}

std::string_view reference_of(std::string_view solution) {
  return first_between_on_a_line(solution, kOpen, kClose).value_or(solution);
}
std::string_view student_of(std::string_view completion) {
  return last_between(completion, kOpen, kClose).value_or(completion);
}
std::string_view first_student_of(std::string_view completion) {
  return first_between(completion, kOpen, kClose).value_or(completion);
}

std::u32string clean_text(std::string_view text) {
  const std::u32string flat = without_line_ends(decode(student_of(text)));
  std::u32string_view rest = strip(std::u32string_view(flat));
  while (!rest.empty() && rest.back() == U'.') rest.remove_suffix(1);
  return lower(rest);
}

double ratio(std::u32string_view a, std::u32string_view b) {
  const std::size_t sum = a.size() + b.size();
  if (sum == 0) return 1.0;
  std::size_t common = 0;  // of the two ends
  while (!a.empty() && !b.empty() && a.front() == b.front()) {
    a.remove_prefix(1);
    b.remove_prefix(1);
    ++common;
  }
  while (!a.empty() && !b.empty() && a.back() == b.back()) {
    a.remove_suffix(1);
    b.remove_suffix(1);
    ++common;
  }
  if (b.size() > a.size()) std::swap(a, b);
  // Hyyrö's bit-vector LCS: a bit of `state` is 0 where the row of the table rises.
  const std::size_t n_words = (b.size() + 63) / 64;
  std::unordered_map<char32_t, std::vector<std::uint64_t>> masks;
  for (std::size_t i = 0; i < b.size(); ++i) {
    auto& mask = masks[b[i]];
    mask.resize(n_words);
    mask[i / 64] |= std::uint64_t{1} << (i % 64);
  }
  std::array<const std::uint64_t*, 128> ascii{};
  for (const auto& [c, mask] : masks) {
    if (c < ascii.size()) ascii[c] = mask.data();
  }
  std::vector<std::uint64_t> state(n_words, ~std::uint64_t{0});
  for (const char32_t c : a) {
    const std::uint64_t* mask = nullptr;
    if (c < ascii.size()) {
      mask = ascii[c];
    } else if (const auto found = masks.find(c); found != masks.end()) {
      mask = found->second.data();
    }
    if (mask == nullptr) continue;
    std::uint64_t carry = 0;
    for (std::size_t w = 0; w < n_words; ++w) {
      const std::uint64_t s = state[w], u = s & mask[w];
      const std::uint64_t partial = s + u, total = partial + carry;
      carry = static_cast<std::uint64_t>(partial < s) | static_cast<std::uint64_t>(total < partial);
      state[w] = total | (s - u);
    }
  }
  std::size_t lcs = common;
  for (std::size_t i = 0; i < b.size(); ++i) lcs += (state[i / 64] >> (i % 64) & 1) == 0 ? 1 : 0;
  return 2.0 * static_cast<double>(lcs) / static_cast<double>(sum);
}

std::optional<char> extract_choice(std::string_view raw) {
  const std::u32string shouted = upper(decode(raw));
  std::u32string text;
  for (const std::u32string_view word : words_of(shouted)) {
    if (!text.empty()) text += U' ';
    text += word;
  }
  const auto is_letter = [](char32_t c) { return c >= U'A' && c <= U'Z'; };
  std::u32string letters;  // distinct, in order of appearance
  std::size_t n_candidates = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_letter(text[i]) || (i > 0 && is_letter(text[i - 1]))) continue;
    constexpr std::u32string_view kFollowing = U".,?!:;";
    if (i + 1 < text.size() && kFollowing.find(text[i + 1]) == std::u32string_view::npos) continue;
    ++n_candidates;
    if (letters.find(text[i]) == std::u32string::npos) letters += text[i];
  }
  if (letters.empty()) return std::nullopt;
  if (n_candidates == 1) return static_cast<char>(letters[0]);
  char best = 0;
  double best_score = -1;
  for (const char32_t letter : letters) {
    const double score = choice_score(text, letter);
    if (score <= best_score) continue;
    best_score = score;
    best = static_cast<char>(letter);
  }
  return best;
}

std::optional<double> python_float(std::u32string_view text) {
  std::string ascii;
  for (const char32_t c : strip(text)) {
    const int digit = digit_value(c);
    if (digit < 0 && c >= 0x80) return std::nullopt;
    ascii += digit >= 0 ? static_cast<char>('0' + digit) : static_cast<char>(c);
  }
  std::size_t at = 0;
  std::string number;
  if (at < ascii.size() && (ascii[at] == '+' || ascii[at] == '-')) number += ascii[at++];
  const std::string name = lower(std::string_view(ascii).substr(at));
  if (name == "inf" || name == "infinity" || name == "nan")
    return std::strtod((number + name).c_str(), nullptr);
  const bool has_whole = take_digits(ascii, at, number);
  bool has_fraction = false;
  if (at < ascii.size() && ascii[at] == '.') {
    number += ascii[at++];
    has_fraction = take_digits(ascii, at, number);
  }
  if (!has_whole && !has_fraction) return std::nullopt;
  if (at < ascii.size() && (ascii[at] == 'e' || ascii[at] == 'E')) {
    number += ascii[at++];
    if (at < ascii.size() && (ascii[at] == '+' || ascii[at] == '-')) number += ascii[at++];
    if (!take_digits(ascii, at, number)) return std::nullopt;
  }
  if (at != ascii.size()) return std::nullopt;
  return std::strtod(number.c_str(), nullptr);
}

Outcome multiple_choice(std::string_view completion, std::string_view solution) {
  const std::optional<char> expected = extract_choice(reference_of(solution));
  const std::optional<char> chosen = extract_choice(first_student_of(completion));
  if (!chosen) return {0.0, "no letter before punctuation or at the end"};
  return {expected && *expected == *chosen ? 1.0 : 0.0};
}

Outcome yes_no(std::string_view completion, std::string_view solution) {
  const auto word = [](std::string_view text) {
    const std::string lowered = lower(text);
    const std::size_t yes = lowered.find("yes"), no = lowered.find("no");
    return yes == no ? 0 : yes < no ? 1 : 2;  // both absent: equal
  };
  return {word(reference_of(solution)) == word(first_student_of(completion)) ? 1.0 : 0.0};
}

Outcome all_match(std::string_view completion, std::string_view solution) {
  return {clean_text(completion) == clean_text(solution) ? 1.0 : 0.0};
}

Outcome numeric(std::string_view completion, std::string_view solution) {
  const std::u32string student = clean_text(student_of(completion)),
                       truth = clean_text(reference_of(solution));
  const std::optional<double> a = python_float(student), b = python_float(truth);
  if (a && b) return {*a == *b ? 1.0 : 0.0};
  return {ratio(student, truth)};
}

Outcome text_ratio(std::string_view completion, std::string_view solution) {
  return {ratio(clean_text(student_of(completion)), clean_text(reference_of(solution)))};
}

double cosine_length(std::uint64_t tokens) {
  constexpr double kPi = 3.141592653589793;
  return 1.0 - (1.0 - 0.5) * (1.0 - std::cos(static_cast<double>(tokens) * kPi / 1024.0)) / 2.0;
}

namespace {

// `\[\s*{.*?"bbox_2d".*?"label".*?}\s*\]`, DOTALL: the first match.
std::optional<std::string_view> bare_boxes(std::string_view text) {
  std::size_t begin = text.find('['), inside = 0;
  for (; begin != kNone; begin = text.find('[', begin + 1)) {
    inside = skip_spaces(text, begin + 1);
    if (inside < text.size() && text[inside] == '{') break;
  }
  if (begin == kNone) return std::nullopt;
  std::size_t at = inside + 1;
  for (const std::string_view key : {"\"bbox_2d\"", "\"label\""}) {
    at = text.find(key, at);
    if (at == kNone) return std::nullopt;
    at += key.size();
  }
  for (at = text.find('}', at); at != kNone; at = text.find('}', at + 1)) {
    const std::size_t end = skip_spaces(text, at + 1);
    if (end < text.size() && text[end] == ']') return text.substr(begin, end + 1 - begin);
  }
  return std::nullopt;
}

std::optional<double> repeated_boxes(std::string_view completion) {
  std::optional<std::string_view> block = first_between(completion, kJsonFence, kFence);
  if (!block) block = first_between(completion, kFence, kFence);
  if (!block) block = bare_boxes(completion);
  if (!block) return std::nullopt;
  constexpr bool kKeepDigits = true;  // str() of a large whole number
  std::optional<graft::Json> list = load_json(*block, kKeepDigits);
  if (!list) {
    if (auto repaired = find_bare_json(*block, kKeepDigits); repaired) list = std::move(repaired->value);
  }
  if (!list || !list->is_array() || list->items().empty()) return std::nullopt;
  std::unordered_set<std::string> distinct;
  std::size_t total = 0;
  for (const graft::Json& entry : list->items()) {
    const graft::Json* box = entry.find("bbox_2d");
    const graft::Json* label = entry.find("label");
    if (box == nullptr || label == nullptr) continue;
    distinct.insert(python_str(*box) + "_" + python_str(*label));
    ++total;
  }
  if (total == 0) return 0.0;
  return -(1.0 - static_cast<double>(distinct.size()) / static_cast<double>(total));
}

}  // namespace

Outcome repetition(std::string_view completion) {
  if (completion.empty()) return {0.0};
  if (const std::optional<double> score = repeated_boxes(completion)) return {*score};
  constexpr std::size_t kGram = 6;
  const std::u32string text = lower(decode(completion));
  const std::vector<std::u32string_view> words = words_of(text);
  if (words.size() < kGram) return {0.0};
  std::unordered_set<std::u32string> distinct;
  const std::size_t total = words.size() - kGram + 1;
  for (std::size_t i = 0; i < total; ++i) {
    std::u32string gram;
    for (std::size_t k = 0; k < kGram; ++k) {
      gram += words[i + k];
      gram += U' ';  // in no word
    }
    distinct.insert(std::move(gram));
  }
  return {-(1.0 - static_cast<double>(distinct.size()) / static_cast<double>(total))};
}

}  // namespace rewards::vlm_r1
