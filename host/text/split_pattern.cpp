// SPDX-License-Identifier: Apache-2.0
#include "text/split_pattern.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <span>

#include "support/error.h"
#include "support/strings.h"
#include "text/unicode_ranges.h"

namespace graft::text {

namespace {

void append_code_point(std::string& out, char32_t code_point) {
  std::array<char, 8> digits{};
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), static_cast<std::uint32_t>(code_point), 16);
  out.append("\\x{").append(digits.data(), end.ptr).append("}");
}

void append_range(std::string& out, CodePointRange range) {
  append_code_point(out, range.first);
  if (range.last == range.first) return;
  out.push_back('-');
  append_code_point(out, range.last);
}

// The ranges as the inside of a class.
std::string class_body(std::span<const CodePointRange> ranges) {
  std::string out;
  for (const CodePointRange& range : ranges) append_range(out, range);
  return out;
}

// Everything but the ranges, as the inside of a class.
std::string inverse_class_body(std::span<const CodePointRange> ranges) {
  std::string out;
  char32_t first = 0;
  for (const CodePointRange& range : ranges) {
    if (range.first > first) append_range(out, {first, range.first - 1});
    first = range.last + 1;
  }
  append_range(out, {first, 0x10FFFF});
  return out;
}

// Rewrites an expression from left to right. One use.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (pos_ < pattern_.size()) {
      if (pattern_[pos_] == '\\') {
        escape();
      } else if (in_class_) {
        class_character();
      } else {
        character();
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw support::UserError(support::cat("the expression \"", pattern_, "\" has ", what, " at byte ", pos_,
                                          ", which this tokenizer does not support"));
  }

  bool at(std::string_view text) const { return pattern_.substr(pos_).starts_with(text); }

  void copy(std::size_t n) {
    out_.append(pattern_.substr(pos_, n));
    pos_ += n;
  }

  // A set of characters, given as the inside of a class, at the present position.
  void set(std::string_view body, bool negated = false) {
    if (in_class_) {
      out_.append(body);
    } else {
      out_.append(negated ? "[^" : "[").append(body).append("]");
    }
  }

  void character() {
    if (at("[")) {
      in_class_ = true;
      copy(1);
      if (at("^")) copy(1);
      if (at("]")) refuse("']' as the first character of a class");
    } else if (at("(?")) {
      group();
    } else if (at("{")) {
      repetition();
    } else {
      copy(1);
    }
  }

  void class_character() {
    if (at("[")) refuse("a class inside a class");
    if (at("&&")) refuse("an intersection of classes");
    if (at("]")) in_class_ = false;
    copy(1);
  }

  // Ruby scopes `(?i)` differently and gives other letters other meanings, so only the forms that agree pass.
  void group() {
    for (const std::string_view opening : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (at(opening)) return copy(opening.size());
    }
    refuse("an inline option or a special group");
  }

  // `x{2}+` is possessive in PCRE2 and a repeated repetition in Ruby.
  void repetition() {
    const std::size_t end = pattern_.find('}', pos_);
    if (end != std::string_view::npos && end + 1 < pattern_.size() && pattern_[end + 1] == '+') {
      refuse("a '+' after a counted repetition");
    }
    copy(1);
  }

  void escape() {
    if (pos_ + 1 == pattern_.size()) refuse("a lone '\\'");
    switch (pattern_[pos_ + 1]) {
      case 's':
        pos_ += 2;
        return set(class_body(kWhiteSpace));
      case 'S':
        pos_ += 2;
        return set(inverse_class_body(kWhiteSpace));
      case 'p':
      case 'P':
        return property();
      case 'b':
      case 'B':
      case 'G':
      case 'h':
      case 'H':
      case 'K':
      case 'R':
      case 'w':
      case 'W':
      case 'X':
        refuse(support::cat("'", pattern_.substr(pos_, 2), "'"));
      default:
        copy(2);
    }
  }

  void property() {
    const std::size_t end = pattern_.find('}', pos_);
    if (pos_ + 2 >= pattern_.size() || pattern_[pos_ + 2] != '{' || end == std::string_view::npos) {
      refuse("a property without braces");
    }
    std::string_view name = pattern_.substr(pos_ + 3, end - pos_ - 3);
    bool negated = pattern_[pos_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (name.empty() || name.size() > 2) refuse("a property that is not a general category such as L or Lu");
    const std::string newer = added_since(name);
    if (negated && in_class_ && !newer.empty()) refuse(support::cat("a class with not-", name));
    pos_ = end + 1;
    if (newer.empty()) {
      out_.append(negated ? "\\P{" : "\\p{").append(name).append("}");
    } else {
      set(support::cat("\\p{", name, "}", newer), negated);
    }
  }

  static std::string added_since(std::string_view category) {
    if (category == "L") return class_body(kLettersSinceUnicode15);
    if (category == "M") return class_body(kMarksSinceUnicode15);
    if (category == "N") return class_body(kNumbersSinceUnicode15);
    return {};
  }

  std::string_view pattern_;
  std::size_t pos_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

std::string to_pcre2(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace graft::text
