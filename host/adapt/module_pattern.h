// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace graft::adapt {

// A regular expression over module names that matches whole names only, as Python's re.fullmatch does. PCRE2:
// look-ahead and look-behind, \b and \d as in the expressions that PEFT adapters carry. matches() may run on
// several threads at once.
class ModulePattern {
 public:
  // `where` begins the messages, such as "peft.target_modules". Throws UserError with the offset of a syntax
  // error.
  ModulePattern(const std::string& pattern, std::string where);

  // Throws UserError if the expression needs more steps than any sensible one would (nested repetition).
  [[nodiscard]] bool matches(std::string_view name) const;
  // What the expression's group of this name matched; empty if the expression does not match.
  [[nodiscard]] std::string group(std::string_view name, const char* group) const;

 private:
  // Runs the expression and hands what matched to `use`, or null.
  template <typename Use>
  auto run(std::string_view name, Use use) const;

  std::shared_ptr<const void> code_;
  std::string pattern_;
  std::string where_;
};

// `text` with every character quoted that has a meaning in Python's and PCRE2's expressions.
[[nodiscard]] std::string quote_pattern(std::string_view text);

}  // namespace graft::adapt
