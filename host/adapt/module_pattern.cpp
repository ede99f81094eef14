// SPDX-License-Identifier: Apache-2.0
#include "adapt/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR bytes(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

ModulePattern::ModulePattern(const std::string& pattern, std::string where)
    : pattern_(pattern), where_(std::move(where)) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  constexpr std::uint32_t kOptions = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* code = pcre2_compile(bytes(pattern_), pattern_.size(), kOptions, &error, &offset, nullptr);
  if (code == nullptr) {
    throw support::UserError(
        support::cat(where_, ": \"", pattern_, "\" is not a regular expression: ", pcre2_message(error),
                     " (at character ", offset, "); for a layer name give a list of names instead"));
  }
  code_ = std::shared_ptr<const void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
}

template <typename Use>
auto ModulePattern::run(std::string_view name, Use use) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(code, nullptr), &pcre2_match_data_free);
  const int result = pcre2_match(code, bytes(name), name.size(), 0, 0, data.get(), nullptr);
  if (result >= 0) return use(data.get());
  if (result == PCRE2_ERROR_NOMATCH) return use(static_cast<pcre2_match_data*>(nullptr));
  throw support::UserError(support::cat(where_, ": \"", pattern_, "\" cannot be matched against ", name, ": ",
                                        pcre2_message(result), "; write it without nested repetitions"));
}

bool ModulePattern::matches(std::string_view name) const {
  return run(name, [](pcre2_match_data* data) { return data != nullptr; });
}

std::string ModulePattern::group(std::string_view name, const char* group) const {
  return run(name, [&](pcre2_match_data* data) -> std::string {
    PCRE2_UCHAR* text = nullptr;
    PCRE2_SIZE length = 0;
    if (data == nullptr ||
        pcre2_substring_get_byname(data, reinterpret_cast<PCRE2_SPTR>(group), &text, &length) != 0) {
      return {};
    }
    std::string out(reinterpret_cast<const char*>(text), length);
    pcre2_substring_free(text);
    return out;
  });
}

std::string quote_pattern(std::string_view text) {
  constexpr std::string_view kSpecial = R"(\.+*?()[]{}^$|)";
  std::string out;
  for (const char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace graft::adapt
