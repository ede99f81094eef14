// SPDX-License-Identifier: Apache-2.0
#include "common/numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "common/unicode.h"

namespace rewards {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Reads sign, digits with commas at thousands, fraction, exponent. Fills a plain decimal text.
class DecimalReader {
 public:
  DecimalReader(std::string_view text, std::size_t at) : text_(text), at_(at) {}

  std::optional<Number> read() {
    sign();
    const std::size_t begin = plain_.size();
    whole();
    const std::size_t whole_end = plain_.size();
    std::size_t n_fraction = 0;
    if (peek() == '.' && is_digit(peek(1))) {
      ++at_;
      plain_ += '.';
      for (; is_digit(peek()); ++at_, ++n_fraction) plain_ += peek();
    } else if (peek() == '.' && whole_end > begin) {
      ++at_;  // "5."
    }
    if (plain_.size() == begin) return std::nullopt;
    const bool has_exponent = exponent();
    Number number;
    if (std::from_chars(plain_.data(), plain_.data() + plain_.size(), number.value).ec != std::errc() ||
        !std::isfinite(number.value))
      return std::nullopt;
    if (!has_exponent) make_exact(number, n_fraction);
    return number;
  }
  [[nodiscard]] std::size_t at() const { return at_; }

 private:
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  void sign() {
    constexpr std::string_view kMinus = "−";
    if (text_.substr(at_, kMinus.size()) == kMinus) {
      plain_ += '-';
      at_ += kMinus.size();
    } else if (peek() == '-' || peek() == '+') {
      if (peek() == '-') plain_ += '-';
      ++at_;
    }
  }

  void whole() {
    std::size_t run = 0;
    for (;;) {
      if (is_digit(peek())) {
        plain_ += peek();
        ++at_;
        ++run;
      } else if (peek() == ',' && run >= 1 && run <= 3 && is_digit(peek(1)) && is_digit(peek(2)) &&
                 is_digit(peek(3)) && !is_digit(peek(4))) {
        ++at_;
        run = 0;
      } else {
        return;
      }
    }
  }

  bool exponent() {
    if (peek() != 'e' && peek() != 'E') return false;
    const std::size_t sign_size = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
    if (!is_digit(peek(1 + sign_size))) return false;
    plain_ += 'e';
    if (peek(1) == '-') plain_ += '-';
    at_ += 1 + sign_size;
    for (; is_digit(peek()); ++at_) plain_ += peek();
    return true;
  }

  void make_exact(Number& number, std::size_t n_fraction) const {
    if (n_fraction > 18) return;
    std::string digits = plain_;
    digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
    if (std::from_chars(digits.data(), digits.data() + digits.size(), number.numerator).ec != std::errc() ||
        number.numerator == std::numeric_limits<std::int64_t>::min())  // has no negative
      return;
    number.denominator = 1;
    for (std::size_t i = 0; i < n_fraction; ++i) number.denominator *= 10;
  }

  std::string_view text_;
  std::size_t at_;
  std::string plain_;
};

std::optional<Number> quotient(const Number& a, const Number& b) {
  if (b.value == 0.0) return std::nullopt;
  Number out;
  out.value = a.value / b.value;
  if (a.denominator != 0 && b.denominator != 0 &&
      (__builtin_mul_overflow(a.numerator, b.denominator, &out.numerator) ||
       __builtin_mul_overflow(a.denominator, b.numerator, &out.denominator)))
    out.denominator = 0;
  return out;
}

constexpr Number kHundred{100.0, 100, 1};

}  // namespace

bool same_number(const Number& a, const Number& b) {
  if (a.denominator != 0 && b.denominator != 0) {
    std::int64_t left = 0, right = 0;
    if (!__builtin_mul_overflow(a.numerator, b.denominator, &left) &&
        !__builtin_mul_overflow(b.numerator, a.denominator, &right))
      return left == right;
  }
  return std::fabs(a.value - b.value) <= 1e-9 * std::max(std::fabs(a.value), std::fabs(b.value));
}

std::optional<Number> parse_number(std::string_view text) {
  text = strip(text);
  DecimalReader reader(text, 0);
  std::optional<Number> number = reader.read();
  if (!number) return std::nullopt;
  std::string_view rest = strip(text.substr(reader.at()));
  if (rest == "%" || rest == "％") return quotient(*number, kHundred);
  if (rest.empty()) return number;
  if (rest.front() != '/') return std::nullopt;
  rest = strip(rest.substr(1));
  DecimalReader below(rest, 0);
  const std::optional<Number> divisor = below.read();
  if (!divisor || below.at() != rest.size()) return std::nullopt;
  return quotient(*number, *divisor);
}

std::optional<Number> last_number(std::string_view text) {
  // Back from the last digit to where its number begins: over digits, points and commas between digits.
  std::size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return std::nullopt;
  std::size_t begin = end;
  const auto joins = [&](std::size_t i) {
    return is_digit(text[i]) ||
           ((text[i] == '.' || text[i] == ',' || text[i] == '/') && i > 0 && is_digit(text[i - 1]));
  };
  while (begin > 0 && joins(begin - 1)) --begin;
  if (begin > 0 && text[begin - 1] == '.') --begin;  // ".5"
  if (begin > 0 && (text[begin - 1] == '-' || text[begin - 1] == '+')) {
    --begin;
  } else if (begin >= 3 && text.substr(begin - 3, 3) == "−") {
    begin -= 3;
  }
  if (end < text.size() && text[end] == '%') ++end;
  if (const std::optional<Number> number = parse_number(text.substr(begin, end - begin))) return number;
  // A list such as "1,2,3": only its last part.
  const std::size_t mark = text.substr(0, end).find_last_of(",/");
  if (mark == std::string_view::npos || mark < begin) return std::nullopt;
  return parse_number(text.substr(mark + 1, end - mark - 1));
}

}  // namespace rewards
