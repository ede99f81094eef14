// SPDX-License-Identifier: Apache-2.0
// graft/sdk/json_parser.hpp: Json::parse. Included by json.hpp.
#ifndef GRAFT_SDK_JSON_PARSER_HPP
#define GRAFT_SDK_JSON_PARSER_HPP

#include <graft/sdk/json.hpp>
#include <graft/sdk/utf8.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace graft {

namespace json_detail {

// A recursive-descent parser over one text.
class Parser {
 public:
  Parser(std::string_view text, int max_depth) : text_(text), depth_left_(max_depth) {}

  Json whole() {
    Json value = parse_value();
    skip_space();
    if (pos_ != text_.size()) fail("expected the end of the text");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error("JSON, byte " + std::to_string(pos_) + ": " + what);
  }
  [[nodiscard]] char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }
  void skip_space() {
    while (pos_ < text_.size() &&
           (text_[pos_] == ' ' || text_[pos_] == '\t' || text_[pos_] == '\n' || text_[pos_] == '\r')) {
      ++pos_;
    }
  }
  bool accept(char c) {
    skip_space();
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("expected '") + c + "'");
  }

  Json parse_value() {
    skip_space();
    if (pos_ >= text_.size()) fail("unexpected end of the text");
    switch (text_[pos_]) {
      case '{':
        return parse_object();
      case '[':
        return parse_array();
      case '"':
        return Json(parse_string());
      case 't':
        return word("true", Json(true));
      case 'f':
        return word("false", Json(false));
      case 'n':
        return word("null", Json());
      default:
        return parse_number();
    }
  }

  Json word(std::string_view name, Json value) {
    if (text_.substr(pos_, name.size()) != name) fail("unknown word");
    pos_ += name.size();
    return value;
  }

  void enter() {
    if (--depth_left_ < 0) fail("nested too deeply");
    ++pos_;
  }

  Json parse_object() {
    enter();
    Json::Members members;
    if (!accept('}')) {
      do {
        skip_space();
        if (peek() != '"') fail("expected a key in quotes");
        std::string key = parse_string();
        expect(':');
        members.emplace_back(std::move(key), parse_value());
      } while (accept(','));
      expect('}');
    }
    ++depth_left_;
    return Json::object(std::move(members));
  }

  Json parse_array() {
    enter();
    Json::Items items;
    if (!accept(']')) {
      do {
        items.push_back(parse_value());
      } while (accept(','));
      expect(']');
    }
    ++depth_left_;
    return Json::array(std::move(items));
  }

  std::string parse_string() {
    ++pos_;
    std::string out;
    for (;;) {
      const std::size_t start = pos_;
      while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '\\' &&
             static_cast<unsigned char>(text_[pos_]) >= 0x20) {
        ++pos_;
      }
      out.append(text_.substr(start, pos_ - start));
      if (pos_ >= text_.size()) fail("unterminated string");
      const char c = text_[pos_];
      if (c == '"') {
        ++pos_;
        return out;
      }
      if (c != '\\') fail("control character in a string");
      ++pos_;
      parse_escape(out);
    }
  }

  void parse_escape(std::string& out) {
    if (pos_ >= text_.size()) fail("unterminated string");
    const char c = text_[pos_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out += c;
        return;
      case 'b':
        out += '\b';
        return;
      case 'f':
        out += '\f';
        return;
      case 'n':
        out += '\n';
        return;
      case 'r':
        out += '\r';
        return;
      case 't':
        out += '\t';
        return;
      case 'u':
        append_utf8(out, parse_code_point());
        return;
      default:
        --pos_;
        fail("unknown escape in a string");
    }
  }

  std::uint32_t parse_hex4() {
    if (text_.size() - pos_ < 4) fail("incomplete \\u escape");
    std::uint32_t value = 0;
    const char* first = text_.data() + pos_;
    const auto [end, code] = std::from_chars(first, first + 4, value, 16);
    if (code != std::errc() || end != first + 4) fail("malformed \\u escape");
    pos_ += 4;
    return value;
  }

  // Lone halves of surrogate pairs, which model output does contain, become U+FFFD.
  std::uint32_t parse_code_point() {
    const std::uint32_t unit = parse_hex4();
    if (unit < 0xD800 || unit > 0xDFFF) return unit;
    if (unit < 0xDC00 && text_.substr(pos_, 2) == "\\u") {
      const std::size_t before = pos_;
      pos_ += 2;
      const std::uint32_t low = parse_hex4();
      if (low >= 0xDC00 && low <= 0xDFFF) return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
      pos_ = before;
    }
    return 0xFFFD;
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  void digits() {
    if (!is_digit(peek())) fail("malformed value");
    while (is_digit(peek())) ++pos_;
  }

  Json parse_number() {
    const std::size_t start = pos_;
    bool integral = true;
    if (peek() == '-') ++pos_;
    if (peek() == '0') {
      ++pos_;
    } else {
      digits();
    }
    if (peek() == '.') {
      integral = false;
      ++pos_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      integral = false;
      ++pos_;
      if (peek() == '+' || peek() == '-') ++pos_;
      digits();
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + pos_;
    std::int64_t whole_number = 0;
    if (integral && std::from_chars(first, last, whole_number).ec == std::errc()) return Json(whole_number);
    double number = 0.0;
    if (std::from_chars(first, last, number).ec != std::errc()) fail("number out of range");
    return Json(number);
  }

  std::string_view text_;
  std::size_t pos_ = 0;
  int depth_left_;
};

}  // namespace json_detail

inline Json Json::parse(std::string_view text, int max_depth) {
  return json_detail::Parser(text, max_depth).whole();
}

}  // namespace graft

#endif
