// SPDX-License-Identifier: Apache-2.0
#include "common/math_answer.h"

#include <algorithm>
#include <vector>

#include "common/parts.h"
#include "common/unicode.h"

namespace rewards {
namespace {

std::string replaced(std::string_view text, std::string_view what, std::string_view with) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  for (std::size_t found = text.find(what); found != kNone; found = text.find(what, at)) {
    out.append(text.substr(at, found - at)).append(with);
    at = found + what.size();
  }
  return out.append(text.substr(at));
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != kNone; at = text.find(what, at + what.size())) ++n;
  return n;
}

// \sqrt3 -> \sqrt{3}: the character after each \sqrt that is not a brace.
std::string braced_roots(const std::string& text) {
  constexpr std::string_view kRoot = "\\sqrt";
  std::string out;
  std::size_t at = 0;
  for (std::size_t found = text.find(kRoot); found != kNone; found = text.find(kRoot, at)) {
    out.append(text, at, found + kRoot.size() - at);
    at = found + kRoot.size();
    if (at >= text.size() || text[at] == '{') continue;
    std::size_t next = 0;
    static_cast<void>(decode_at(text, at, next));
    out.append("{").append(text, at, next - at).append("}");
    at = next;
  }
  return out.append(text, at, std::string::npos);
}

// \frac12 -> \frac{1}{2}, \frac1{72} -> \frac{1}{72}; with fewer than two characters after a bare \frac the text stays as it is.
std::string braced_fractions(const std::string& text) {
  constexpr std::string_view kFrac = "\\frac";
  std::string out;
  std::size_t at = 0;
  for (std::size_t found = text.find(kFrac); found != kNone; found = text.find(kFrac, at)) {
    out.append(text, at, found + kFrac.size() - at);
    at = found + kFrac.size();
    if (at < text.size() && text[at] == '{') continue;
    if (at >= text.size()) return text;
    std::size_t second = 0, third = 0;
    static_cast<void>(decode_at(text, at, second));
    if (second >= text.size() || text.compare(at, kFrac.size(), kFrac) == 0 ||
        text.compare(second, kFrac.size(), kFrac) == 0)
      return text;
    out.append("{").append(text, at, second - at).append("}");
    at = second;
    if (text[second] == '{') continue;
    static_cast<void>(decode_at(text, second, third));
    out.append("{").append(text, second, third - second).append("}");
    at = third;
  }
  return out.append(text, at, std::string::npos);
}

// a/b of two whole numbers, and nothing else.
std::string spelled_quotient(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == kNone || text.find('/', slash + 1) != kNone) return text;
  const auto is_whole = [](std::string_view part) {
    if (!part.empty() && part[0] == '-') part.remove_prefix(1);
    return !part.empty() && (part == "0" || part[0] != '0') &&
           std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  const std::string a = text.substr(0, slash), b = text.substr(slash + 1);
  if (!is_whole(a) || !is_whole(b)) return text;
  return "\\frac{" + a + "}{" + b + "}";
}

// The parts of "(a, b)" or "[a, b]" or "{a, b}" at the commas outside of further brackets; one part: no list.
std::vector<std::string_view> list_parts(std::string_view text) {
  text = strip(text);
  if (text.size() >= 2 && std::string_view("([").find(text.front()) != kNone &&
      std::string_view(")]").find(text.back()) != kNone)
    text = text.substr(1, text.size() - 2);
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if (c != ',' || depth != 0) continue;
    parts.push_back(strip(text.substr(begin, i - begin)));
    begin = i + 1;
  }
  parts.push_back(strip(text.substr(begin)));
  return parts;
}

bool same_part(std::string_view a, std::string_view b) {
  const std::optional<Number> x = math_number(a), y = math_number(b);
  if (x && y) return same_number(*x, *y);
  return normalised_answer(a) == normalised_answer(b);
}

std::optional<Number> number_in_text(std::string_view text) {
  if (const auto boxed = last_boxed(text)) {
    if (const auto number = math_number(*boxed)) return number;
  }
  if (const auto number = math_number(text)) return number;
  return last_number(text);
}

}  // namespace

std::optional<std::string_view> last_boxed(std::string_view text) {
  const std::size_t boxed = text.rfind("\\boxed"), framed = text.rfind("\\fbox");
  if (boxed == kNone && framed == kNone) return std::nullopt;
  const bool is_boxed = framed == kNone || (boxed != kNone && boxed > framed);
  std::string_view rest = text.substr(is_boxed ? boxed + 6 : framed + 5);
  if (!rest.empty() && rest.front() == ' ') {
    rest.remove_prefix(1);
    return rest.substr(0, rest.find('$'));
  }
  const std::size_t open = rest.find('{');
  if (open == kNone) return std::nullopt;
  int depth = 0;
  for (std::size_t i = open; i < rest.size(); ++i) {
    if (rest[i] == '{') ++depth;
    if (rest[i] == '}' && --depth == 0) return rest.substr(open + 1, i - open - 1);
  }
  return std::nullopt;
}

std::string normalised_answer(std::string_view raw) {
  std::string text(raw);
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {"\n", ""},     {"\\!", ""},     {"\\\\", "\\"},    {"tfrac", "frac"}, {"dfrac", "frac"},
      {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""},   {"\\$", ""}};
  for (const auto& [what, with] : kRules) text = replaced(text, what, with);
  if (count(text, "\\text{ ") == 1) text.resize(text.find("\\text{ "));
  text = replaced(replaced(text, "\\%", ""), "%", "");
  text = replaced(replaced(text, " .", " 0."), "{.", "{0.");
  if (text.empty()) return text;
  if (text[0] == '.') text.insert(0, "0");
  const std::size_t equals = text.find('=');
  if (equals != kNone && text.find('=', equals + 1) == kNone &&
      decode(std::string_view(text).substr(0, equals)).size() <= 2)
    text.erase(0, equals + 1);
  text = braced_fractions(replaced(braced_roots(text), " ", ""));
  if (text == "0.5") text = "\\frac{1}{2}";
  return spelled_quotient(text);
}

std::optional<Number> math_number(std::string_view raw) {
  std::string_view text = strip(raw);
  if (text.size() >= 2 && text.front() == '$' && text.back() == '$')
    text = strip(text.substr(1, text.size() - 2));
  if (text.size() > 512) return std::nullopt;
  std::string plain =
      replaced(replaced(replaced(text, "\\dfrac", "\\frac"), "\\tfrac", "\\frac"), "\\%", "%");
  plain = replaced(replaced(plain, "{,}", ","), "\\!", "");
  std::string_view rest = strip(std::string_view(plain));
  bool is_negative = false;
  if (rest.substr(0, 6) == "-\\frac") {
    is_negative = true;
    rest.remove_prefix(1);
  }
  if (rest.substr(0, 5) != "\\frac") return parse_number(rest);
  const std::string fraction = braced_fractions(std::string(rest));
  const std::size_t middle = fraction.find("}{");
  if (fraction.substr(0, 6) != "\\frac{" || middle == kNone || fraction.back() != '}') return std::nullopt;
  const std::string above = fraction.substr(6, middle - 6),
                    below = fraction.substr(middle + 2, fraction.size() - middle - 3);
  if (above.find('/') != kNone || below.find('/') != kNone || above.find('%') != kNone ||
      below.find('%') != kNone)
    return std::nullopt;
  std::optional<Number> number = parse_number(above + "/" + below);
  if (number && is_negative) {
    number->value = -number->value;
    number->numerator = -number->numerator;
  }
  return number;
}

bool same_answer(std::string_view a, std::string_view b) {
  if (same_part(a, b)) return true;
  const std::vector<std::string_view> left = list_parts(a), right = list_parts(b);
  if (left.size() != right.size() || left.size() < 2) return false;
  return std::equal(left.begin(), left.end(), right.begin(), same_part);
}

bool same_number_in_text(std::string_view a, std::string_view b) {
  const std::optional<Number> x = number_in_text(a), y = number_in_text(b);
  return x && y && same_number(*x, *y);
}

}  // namespace rewards
