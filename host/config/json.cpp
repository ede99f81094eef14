// SPDX-License-Identifier: Apache-2.0
#include "config/json.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <set>
#include <vector>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::config {

namespace {

using nlohmann::json;
using support::cat;

// "line:column" of a byte offset, both counted from 1.
std::string position_text(std::string_view text, std::size_t offset, std::int64_t first_line = 1) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = first_line + std::count(before.begin(), before.end(), '\n');
  const std::size_t line_start = before.rfind('\n');
  const std::size_t column = before.size() - (line_start == std::string_view::npos ? 0 : line_start + 1) + 1;
  return cat(line, ':', column);
}

// The library's message without its own error number and position.
std::string reason_of(const std::string& message) {
  std::size_t begin = 0;
  for (const std::string_view mark : {"syntax error while parsing ", "syntax error "}) {
    const std::size_t at = message.find(mark);
    if (at == std::string::npos) continue;
    begin = at + mark.size();
    break;
  }
  if (begin == 0 && message.starts_with('[')) begin = std::min(message.find("] ") + 2, message.size());
  return message.substr(begin);
}

[[noreturn]] void fail(std::string_view text, const std::string& name, std::int64_t first_line,
                       const json::exception& error) {
  const auto* syntax = dynamic_cast<const json::parse_error*>(&error);
  const std::string reason = reason_of(error.what());
  if (syntax == nullptr) throw support::UserError(cat(name, ": malformed JSON: ", reason));
  const std::size_t offset = syntax->byte == 0 ? 0 : syntax->byte - 1;
  throw support::UserError(
      cat(name, ':', position_text(text, offset, first_line), ": malformed JSON: ", reason));
}

// Hands the text to the parser and knows how far it has read.
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    ++at_;
    if (reached_ != nullptr) *reached_ = at_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor copy = *this;
    ++*this;
    return copy;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// Walks a well-formed text and notes the line of every key and list item.
class LineRecorder : public nlohmann::json_sax<json> {
 public:
  LineRecorder(std::string_view text, const char* const& reached, JsonDocument& document)
      : text_(text), reached_(reached), document_(document) {}

  bool null() override { return item(); }
  bool boolean(bool) override { return item(); }
  bool number_integer(number_integer_t) override { return item(); }
  bool number_unsigned(number_unsigned_t) override { return item(); }
  bool number_float(number_float_t, const string_t&) override { return item(); }
  bool string(string_t&) override { return item(); }
  bool binary(binary_t&) override { return item(); }
  bool start_object(std::size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(true); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    level.current = dotted(level.path, name);
    if (!level.seen.insert(name).second) {
      throw support::UserError(cat(document_.name, ':', position_text(text_, consumed()), ": the key \"",
                                   level.current, "\" is given twice"));
    }
    note(level.current);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;  // cannot happen: the text has been parsed before
  }

 private:
  struct Level {
    std::string path;
    bool is_array;
    std::size_t index = 0;
    std::string current{};  // path of the value being read
    std::set<std::string> seen{};
  };

  // The parser reads at most one character past a token.
  std::size_t consumed() const {
    const auto offset = static_cast<std::size_t>(reached_ - text_.data());
    return offset == 0 ? 0 : offset - 1;
  }

  void note(const std::string& path) {
    const std::size_t offset = consumed();
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(counted_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
    counted_ = offset;
    document_.lines.emplace(path, line_);
  }

  // A value begins: within an array it has no key, so its position is noted here.
  bool item() {
    if (levels_.empty() || !levels_.back().is_array) return true;
    Level& level = levels_.back();
    level.current = dotted(level.path, std::to_string(level.index++));
    note(level.current);
    return true;
  }

  bool open(bool is_array) {
    item();
    levels_.push_back({levels_.empty() ? std::string() : levels_.back().current, is_array});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  std::string_view text_;
  const char* const& reached_;
  JsonDocument& document_;
  std::vector<Level> levels_;
  std::size_t counted_ = 0;
  int line_ = 1;
};

}  // namespace

std::string dotted(const std::string& prefix, std::string_view key) {
  return prefix.empty() ? std::string(key) : cat(prefix, '.', key);
}

std::string JsonDocument::where(const std::string& path) const {
  const auto found = lines.find(path);
  return found == lines.end() ? name : cat(name, ':', found->second);
}

json parse_json(std::string_view text, const std::string& name, std::int64_t first_line) {
  if (support::trim(text).empty()) throw support::UserError(cat(name, ": is empty; expected JSON"));
  try {
    return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/true,
                       /*ignore_comments=*/true);
  } catch (const json::exception& error) {
    fail(text, name, first_line, error);
  }
}

json load_json(const std::filesystem::path& path) {
  return parse_json(support::read_file(path), path.string());
}

JsonDocument parse_json_document(std::string_view text, const std::string& name) {
  JsonDocument document{parse_json(text, name), name, {}};
  const char* reached = text.data();
  LineRecorder recorder(text, reached, document);
  json::sax_parse(Cursor(text.data(), &reached), Cursor(text.data() + text.size(), nullptr), &recorder,
                  json::input_format_t::json, /*strict=*/true, /*ignore_comments=*/true);
  return document;
}

JsonDocument load_json_document(const std::filesystem::path& path) {
  return parse_json_document(support::read_file(path), path.string());
}

std::string shown(const json& value) {
  constexpr std::size_t kLimit = 60;
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= kLimit) return text;
  std::size_t end = kLimit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;  // not within a UTF-8 sequence
  return cat(std::string_view(text).substr(0, end), "…");
}

}  // namespace graft::config
