// SPDX-License-Identifier: Apache-2.0
// The expression that cuts a text into words before byte-pair encoding.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace graft::text {

// A compiled expression. Const functions may run on several threads at once. Movable, not copyable.
class SplitRegex {
 public:
  // `pattern` in Oniguruma's syntax, see to_pcre2(). Throws support::UserError if it does not compile.
  static SplitRegex from_expression(std::string_view pattern);
  // Matches exactly this text (not empty).
  static SplitRegex from_literal(std::string_view text);

  SplitRegex(SplitRegex&&) noexcept;
  SplitRegex& operator=(SplitRegex&&) noexcept;
  ~SplitRegex();

  // Appends the pieces of `text`, which must be well-formed UTF-8, in order: every match, and every stretch
  // between two matches. No piece is empty; together they are `text`, into which they point.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Code;
  explicit SplitRegex(std::unique_ptr<const Code> code);
  static SplitRegex compile(std::string_view pattern, unsigned options, std::string_view shown);
  std::unique_ptr<const Code> code_;
};

}  // namespace graft::text
