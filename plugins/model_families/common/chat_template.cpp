// SPDX-License-Identifier: Apache-2.0
#include "common/chat_template.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace families {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";

struct Token {
  char
      kind;  // 't' text or a printed literal, 's' string, 'o' anything else within a tag, '{' '%' a tag's begin, '}' its end
  std::string text;
};

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Reads a template token by token. `ok()` is false once something is met that is not understood.
class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (ok_ && at_ < source_.size()) {
      const std::size_t open = next_tag();
      text(open);
      if (open >= source_.size()) break;
      tag(open);
    }
    return std::move(tokens_);
  }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  [[nodiscard]] bool starts(std::string_view what) const {
    return source_.compare(at_, what.size(), what) == 0;
  }

  [[nodiscard]] std::size_t next_tag() const {
    std::size_t open = source_.find('{', at_);
    while (open + 1 < source_.size()) {  // npos + 1 is 0
      if (open == std::string_view::npos) break;
      const char second = source_[open + 1];
      if (second == '{' || second == '%' || second == '#') return open;
      open = source_.find('{', open + 1);
    }
    return source_.size();
  }

  // The text up to a tag: "-" strips white space before the tag, and a statement or comment alone on its line its indentation.
  void text(std::size_t end) {
    std::string_view piece = source_.substr(at_, end - at_);
    const bool is_printed = end + 1 < source_.size() && source_[end + 1] == '{';
    const char mark = end + 2 < source_.size() ? source_[end + 2] : '\0';
    if (end < source_.size() && mark == '-') {
      const std::size_t last = piece.find_last_not_of(kSpaces);
      piece = piece.substr(0, last == std::string_view::npos ? 0 : last + 1);
    } else if (end < source_.size() && !is_printed && mark != '+') {
      const std::size_t line = piece.rfind('\n') + 1;  // 0 without a line break
      const bool is_indentation = piece.find_first_not_of(" \t", line) == std::string_view::npos;
      if ((line > 0 || begins_line_) && is_indentation) piece = piece.substr(0, line);
    }
    if (!piece.empty()) tokens_.push_back({'t', std::string(piece)});
    at_ = end;
  }

  void tag(std::size_t open) {
    const char kind = source_[open + 1];
    const std::string close = kind == '{' ? "}}" : std::string(1, kind) + "}";
    at_ = open + 2;
    if (starts("-") || (kind != '{' && starts("+"))) ++at_;
    if (kind == '#') {
      at_ = source_.find(close, at_);
      if (at_ == std::string_view::npos) return fail();
      if (source_[at_ - 1] == '-' || source_[at_ - 1] == '+') --at_;
      return leave(close, false);
    }
    const std::size_t first = tokens_.size();
    tokens_.push_back({kind, {}});
    while (ok_ && !starts(close) && !starts("-" + close) && !(kind == '%' && starts("+" + close))) token();
    if (!ok_) return;
    tokens_.push_back({'}', {}});
    if (kind == '{' && tokens_.size() == first + 3 && tokens_[first + 1].kind == 's') {
      tokens_[first] = {'t', tokens_[first + 1].text};  // prints a literal: text
      tokens_.resize(first + 1);
    }
    leave(close, kind == '{');
  }

  // Behind a tag: "-" strips white space, and the line break behind a statement or comment is dropped.
  void leave(const std::string& close, bool is_printed) {
    const bool strips = starts("-"), keeps = starts("+");
    at_ += close.size() + (strips || keeps ? 1 : 0);
    const std::size_t begin = at_;
    if (strips) {
      at_ = std::min(source_.find_first_not_of(kSpaces, at_), source_.size());
    } else if (!keeps && !is_printed && starts("\n")) {
      ++at_;
    }
    begins_line_ = at_ > begin && source_[at_ - 1] == '\n';
  }

  void token() {
    if (at_ >= source_.size()) return fail();
    const char c = source_[at_];
    if (kSpaces.find(c) != std::string_view::npos) {
      ++at_;
    } else if (c == '\'' || c == '"') {
      literal(c);
    } else {
      std::size_t end = at_ + 1;
      while (is_word(c) && end < source_.size() && is_word(source_[end])) ++end;
      if (!is_word(c) && end < source_.size() && source_[end] == '=') ++end;  // == != <= >=
      tokens_.push_back({'o', std::string(source_.substr(at_, end - at_))});
      at_ = end;
    }
  }

  void literal(char quote) {
    std::string value;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      if (source_[at_] != '\\') {
        value += source_[at_];
        continue;
      }
      constexpr std::string_view kEscapes = "ntr\\'\"", kMeant = "\n\t\r\\'\"";
      const std::size_t which =
          at_ + 1 < source_.size() ? kEscapes.find(source_[at_ + 1]) : std::string_view::npos;
      if (which == std::string_view::npos) return fail();
      value += kMeant[which];
      ++at_;
    }
    if (at_ >= source_.size()) return fail();
    ++at_;
    tokens_.push_back({'s', std::move(value)});
  }

  void fail() { ok_ = false; }

  std::string_view source_;
  std::size_t at_ = 0;
  bool begins_line_ = true;
  bool ok_ = true;
  std::vector<Token> tokens_;
};

constexpr std::string_view kSystemHead = "<|im_start|>system\n", kSystemEnd = "<|im_end|>\n";

// "<|im_start|>system\n…<|im_end|>\n" as one literal, or as the end of a text.
std::optional<std::string> system_of(const Token& token) {
  const std::string& text = token.text;
  if ((token.kind != 't' && token.kind != 's') || text.size() <= kSystemHead.size() + kSystemEnd.size())
    return std::nullopt;
  if (text.compare(0, kSystemHead.size(), kSystemHead) != 0) return std::nullopt;
  const std::size_t end = text.size() - kSystemEnd.size();
  if (text.compare(end, kSystemEnd.size(), kSystemEnd) != 0) return std::nullopt;
  std::string content = text.substr(kSystemHead.size(), end - kSystemHead.size());
  if (content.find("<|") != std::string::npos) return std::nullopt;
  return content;
}

// FNV-1a, 64 bits.
void add(std::uint64_t& hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
}

}  // namespace

TemplateForm read_template(std::string_view chat_template) {
  // Jinja reads every line break as "\n" and drops one at the end.
  std::string source;
  for (std::size_t i = 0; i < chat_template.size(); ++i) {
    const bool is_return = chat_template[i] == '\r';
    if (is_return && i + 1 < chat_template.size() && chat_template[i + 1] == '\n') continue;
    source += is_return ? '\n' : chat_template[i];
  }
  if (!source.empty() && source.back() == '\n') source.pop_back();
  Lexer lexer(source);
  std::vector<Token> tokens = lexer.run();
  if (!lexer.ok()) return {};

  TemplateForm form;
  for (const Token& token : tokens) {
    const std::optional<std::string> system = system_of(token);
    if (!system) continue;
    if (!form.default_system.empty() && form.default_system != *system) return {};  // two of them
    form.default_system = *system;
  }
  constexpr std::string_view kAny = "\x01";
  form.fingerprint = 14695981039346656037ULL;
  for (const Token& token : tokens) {
    const bool is_literal = token.kind == 't' || token.kind == 's';
    const bool is_system = is_literal && !form.default_system.empty() && token.text == form.default_system;
    add(form.fingerprint, std::string_view(&token.kind, 1));
    add(form.fingerprint, system_of(token) ? std::string_view("\x02") : is_system ? kAny : token.text);
    add(form.fingerprint, std::string_view("\0", 1));
  }
  return form;
}

}  // namespace families
