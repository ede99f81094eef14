// SPDX-License-Identifier: Apache-2.0
// graft/sdk/utf8.hpp: characters to UTF-8.
#ifndef GRAFT_SDK_UTF8_HPP
#define GRAFT_SDK_UTF8_HPP

#include <string>

namespace graft {

// Appends a code point as UTF-8; it is not checked.
inline void append_utf8(std::string& out, char32_t code_point) {
  const auto tail = [&](char32_t bits) { out += static_cast<char>(0x80 | (bits & 0x3F)); };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | (code_point >> 6));
    tail(code_point);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | (code_point >> 12));
    tail(code_point >> 6);
    tail(code_point);
  } else {
    out += static_cast<char>(0xF0 | (code_point >> 18));
    tail(code_point >> 12);
    tail(code_point >> 6);
    tail(code_point);
  }
}

}  // namespace graft

#endif
