// SPDX-License-Identifier: Apache-2.0
// UTF-8, one character at a time. Pure functions.
#pragma once

#include <graft/sdk/utf8.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace graft::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Unit {
  enum class Kind {
    kComplete,   // one well-formed character
    kIllFormed,  // bytes that begin no character: the longest prefix of one, at least one byte
    kCut,        // the text ends inside what could still become a character
  };
  Kind kind;
  std::size_t length;  // bytes
};

// What stands at text[pos]; pos < text.size(). The division of ill-formed bytes is the one of Unicode's
// section 3.9 ("maximal subparts"), which Python's errors="replace" and Rust's from_utf8_lossy share.
Utf8Unit next_unit(std::string_view text, std::size_t pos);

// Decodes the character at text[pos] and moves `pos` past it. The text must be well-formed.
char32_t next_code_point(std::string_view text, std::size_t& pos);

using graft::append_utf8;

// The text with U+FFFD for each ill-formed or cut unit.
std::string to_well_formed(std::string_view text);

// Splits off what is certain: appends to the result as to_well_formed() does, but leaves a cut unit at the
// end of `pending` there, for more bytes to come.
std::string take_certain(std::string& pending);

}  // namespace graft::text
