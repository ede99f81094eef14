// SPDX-License-Identifier: Apache-2.0
#include "common/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

#include "common/unicode.h"

namespace rewards {

using graft::Json;

namespace {

constexpr int kMaxDepth = 900;            // Python's recursion limit is 1000, less what is on its stack
constexpr std::size_t kMaxDigits = 4300;  // sys.get_int_max_str_digits()

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Reader {
 public:
  Reader(std::string_view text, std::size_t at, bool keep_digits)
      : text_(text), pos_(at), keep_digits_(keep_digits) {}

  bool value(Json& out) {
    skip();
    if (pos_ >= text_.size()) return false;
    switch (text_[pos_]) {
      case '{':
        return object(out);
      case '[':
        return array(out);
      case '"':
        return string(out);
      default:
        return word(out) || number(out);
    }
  }

  void skip() {
    while (pos_ < text_.size() &&
           (text_[pos_] == ' ' || text_[pos_] == '\t' || text_[pos_] == '\n' || text_[pos_] == '\r'))
      ++pos_;
  }
  [[nodiscard]] std::size_t pos() const { return pos_; }

 private:
  bool accept(char c) {
    skip();
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0';
  }

  bool word(Json& out) {
    const std::string_view rest = text_.substr(pos_);
    const auto take = [&](std::string_view name, Json value) {
      if (rest.substr(0, name.size()) != name) return false;
      pos_ += name.size();
      out = std::move(value);
      return true;
    };
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    return take("null", Json()) || take("true", Json(true)) || take("false", Json(false)) ||
           take("NaN", Json(std::numeric_limits<double>::quiet_NaN())) || take("Infinity", Json(kInfinity)) ||
           take("-Infinity", Json(-kInfinity));
  }

  bool object(Json& out) {
    if (++depth_ > kMaxDepth) return false;
    ++pos_;
    Json::Members members;
    if (!accept('}')) {
      do {
        Json key, value_of_key;
        skip();
        if (peek() != '"' || !string(key) || !accept(':') || !value(value_of_key)) return false;
        members.emplace_back(key.as_string(), std::move(value_of_key));
      } while (accept(','));
      if (!accept('}')) return false;
    }
    --depth_;
    out = Json::object(std::move(members));
    return true;
  }

  bool array(Json& out) {
    if (++depth_ > kMaxDepth) return false;
    ++pos_;
    Json::Items items;
    if (!accept(']')) {
      do {
        items.emplace_back();
        if (!value(items.back())) return false;
      } while (accept(','));
      if (!accept(']')) return false;
    }
    --depth_;
    out = Json::array(std::move(items));
    return true;
  }

  bool string(Json& out) {
    ++pos_;
    std::string value;
    for (;;) {
      const std::size_t start = pos_;
      while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '\\' &&
             static_cast<unsigned char>(text_[pos_]) >= 0x20)
        ++pos_;
      value.append(text_.substr(start, pos_ - start));
      if (pos_ >= text_.size() || static_cast<unsigned char>(text_[pos_]) < 0x20) return false;
      if (text_[pos_++] == '"') break;
      if (!escape(value)) return false;
    }
    out = Json(std::move(value));
    return true;
  }

  bool escape(std::string& out) {
    static constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (c == 'u') {
      ++pos_;
      char32_t unit = 0;
      if (!hex4(unit)) return false;
      append_utf8(out, joined(unit));
      return true;
    }
    const std::size_t index = kNames.find(c);
    if (pos_ >= text_.size() || index == std::string_view::npos) return false;
    out += kValues[index];
    ++pos_;
    return true;
  }

  bool hex4(char32_t& out) {
    if (text_.size() - pos_ < 4) return false;
    std::uint32_t value = 0;
    const char* first = text_.data() + pos_;
    const auto [end, code] = std::from_chars(first, first + 4, value, 16);
    if (code != std::errc() || end != first + 4) return false;
    pos_ += 4;
    out = value;
    return true;
  }

  // A pair of surrogates becomes one character; lone halves, which UTF-8 cannot hold, U+FFFD.
  char32_t joined(char32_t unit) {
    if (unit < 0xD800 || unit > 0xDFFF) return unit;
    const std::size_t before = pos_;
    if (unit < 0xDC00 && text_.substr(pos_, 2) == "\\u") {
      pos_ += 2;
      char32_t low = 0;
      if (hex4(low) && low >= 0xDC00 && low <= 0xDFFF)
        return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
      pos_ = before;
    }
    return 0xFFFD;
  }

  void digits() {
    while (is_digit(peek())) ++pos_;
  }

  bool number(Json& out) {
    const std::size_t start = pos_;
    std::size_t ahead = peek() == '-' ? 1 : 0;
    if (!is_digit(peek(ahead))) return false;
    pos_ += ahead;
    if (peek() == '0') {
      ++pos_;
    } else {
      digits();
    }
    const std::size_t whole_end = pos_;
    if (peek() == '.' && is_digit(peek(1))) {
      ++pos_;
      digits();
    }
    ahead = peek(1) == '+' || peek(1) == '-' ? 2 : 1;
    if ((peek() == 'e' || peek() == 'E') && is_digit(peek(ahead))) {
      pos_ += ahead;
      digits();
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + pos_;
    if (pos_ == whole_end) {
      if (pos_ - start > kMaxDigits) return false;
      std::int64_t whole = 0;
      if (std::from_chars(first, last, whole).ec == std::errc()) {
        out = Json(whole);
        return true;
      }
      if (keep_digits_) {
        out = Json(std::string(first, last));
        return true;
      }
    }
    double real = 0.0;
    if (std::from_chars(first, last, real).ec != std::errc())
      real = std::strtod(std::string(first, last).c_str(), nullptr);  // 0 or infinite
    out = Json(real);
    return true;
  }

  std::string_view text_;
  std::size_t pos_;
  bool keep_digits_;
  int depth_ = 0;
};

// The flat objects of a broken text, `{[^{}]*}`, that can be read.
Json salvage_objects(std::string_view text, bool keep_digits) {
  Json::Items objects;
  std::size_t open = std::string_view::npos;
  for (std::size_t at = text.find_first_of("{}"); at != std::string_view::npos;
       at = text.find_first_of("{}", at + 1)) {
    if (text[at] == '{') {
      open = at;
    } else if (open != std::string_view::npos) {
      if (std::optional<Json> value = load_json(text.substr(open, at + 1 - open), keep_digits))
        objects.push_back(std::move(*value));
      open = std::string_view::npos;
    }
  }
  return Json::array(std::move(objects));
}

std::string python_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const double size = std::fabs(value);
  if (size != 0.0 && (size < 1e-4 || size >= 1e16)) {
    return std::string(
        buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr);
  }
  std::string text(buffer,
                   std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

void append_repr(std::string& out, const Json& value);

void append_text_repr(std::string& out, const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    if (c == quote || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  out += quote;
}

void append_repr(std::string& out, const Json& value) {
  if (value.is_null()) {
    out += "None";
  } else if (value.is_bool()) {
    out += value.as_bool() ? "True" : "False";
  } else if (value.is_int()) {
    out += std::to_string(value.as_int());
  } else if (value.is_number()) {
    out += python_float(value.as_number());
  } else if (value.is_string()) {
    append_text_repr(out, value.as_string());
  } else if (value.is_array()) {
    out += '[';
    const char* separator = "";
    for (const Json& item : value.items()) {
      out += separator;
      append_repr(out, item);
      separator = ", ";
    }
    out += ']';
  } else {
    // Equal keys: the place of the first, the value of the last. Few keys: boxes are no objects.
    out += '{';
    const char* separator = "";
    for (const auto& [key, member] : value.members()) {
      out += separator;
      append_text_repr(out, key);
      out += ": ";
      append_repr(out, member);
      separator = ", ";
    }
    out += '}';
  }
}

}  // namespace

std::optional<Json> load_json(std::string_view text, bool keep_digits) {
  Reader reader(text, 0, keep_digits);
  Json value;
  if (!reader.value(value)) return std::nullopt;
  reader.skip();
  if (reader.pos() != text.size()) return std::nullopt;
  return value;
}

std::optional<FoundJson> find_bare_json(std::string_view text, bool keep_digits) {
  FoundJson found;
  const std::size_t start = text.find_first_of("[{");
  if (start == std::string_view::npos) return std::nullopt;
  if (Reader reader(text, start, keep_digits); reader.value(found.value)) return found;
  found.value = salvage_objects(text.substr(start), keep_digits);
  found.is_repaired = true;
  if (found.value.items().empty()) return std::nullopt;
  return found;
}

std::optional<FoundJson> find_json(std::string_view text) {
  const std::size_t fence = text.find("```");
  if (fence == std::string_view::npos) return find_bare_json(text);
  text.remove_prefix(fence + 3);
  return find_bare_json(text.substr(0, text.find("```")));
}

std::string python_str(const Json& value) {
  if (value.is_string()) return value.as_string();
  std::string out;
  append_repr(out, value);
  return out;
}

}  // namespace rewards
