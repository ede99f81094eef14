// SPDX-License-Identifier: Apache-2.0
#include "text/byte_level.h"

#include <array>
#include <cstddef>

#include "text/utf8.h"

namespace graft::text {

namespace {

constexpr std::size_t kSpellings = 0x144;  // one past the last character in use

struct Tables {
  std::array<std::string, 256> spelling;           // by byte
  std::array<std::int16_t, kSpellings> byte_of{};  // by code point, -1 for none
};

bool is_printable(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

Tables make_tables() {
  Tables tables;
  tables.byte_of.fill(-1);
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t code_point = is_printable(byte) ? byte : next++;
    append_utf8(tables.spelling[byte], code_point);
    tables.byte_of[code_point] = static_cast<std::int16_t>(byte);
  }
  return tables;
}

const Tables& tables() {
  static const Tables instance = make_tables();
  return instance;
}

}  // namespace

std::string_view byte_spelling(std::uint8_t byte) {
  return tables().spelling[byte];
}

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) out.append(byte_spelling(static_cast<std::uint8_t>(byte)));
  return out;
}

std::optional<std::string> unspell_bytes(std::string_view spelled) {
  std::string out;
  for (std::size_t pos = 0; pos < spelled.size();) {
    const char32_t code_point = next_code_point(spelled, pos);
    if (code_point >= kSpellings || tables().byte_of[code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(tables().byte_of[code_point]));
  }
  return out;
}

}  // namespace graft::text
