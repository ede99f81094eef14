// SPDX-License-Identifier: Apache-2.0
// UTF-8 text as Python's str sees it (3.11, Unicode 14): white space, decimal digits, lower and upper case.
#pragma once

#include <graft/sdk/utf8.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rewards {

// The character at byte `at` < text.size(), and behind it the next one's byte. A byte that begins no UTF-8 sequence is
// U+FFFD of one byte.
[[nodiscard]] char32_t decode_at(std::string_view text, std::size_t at, std::size_t& next);
[[nodiscard]] std::u32string decode(std::string_view text);
using graft::append_utf8;
[[nodiscard]] std::string encode(std::u32string_view text);
[[nodiscard]] std::string valid_utf8(std::string_view text);  // U+FFFD for bytes that are none

[[nodiscard]] bool is_space(char32_t c);    // str.isspace, and \s of `re`
[[nodiscard]] int digit_value(char32_t c);  // \d of `re`: any decimal digit of Unicode; -1 for others
[[nodiscard]] std::u32string lower(std::u32string_view text);  // str.lower, final sigma included
[[nodiscard]] std::u32string upper(std::u32string_view text);  // str.upper, with "SS" for "ß"

// The first byte from `at` on that is no white space.
[[nodiscard]] std::size_t skip_spaces(std::string_view text, std::size_t at);
// The byte length of the digit at `at`, 0 if there is none; its value to `value`.
[[nodiscard]] std::size_t digit_at(std::string_view text, std::size_t at, int& value);
[[nodiscard]] std::string_view strip(std::string_view text);  // str.strip
[[nodiscard]] std::u32string_view strip(std::u32string_view text);
[[nodiscard]] std::string lower(std::string_view text);

}  // namespace rewards
