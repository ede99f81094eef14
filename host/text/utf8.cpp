// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include "support/strings.h"

namespace graft::text {

namespace {

std::uint8_t byte_at(std::string_view text, std::size_t pos) {
  return static_cast<std::uint8_t>(text[pos]);
}

}  // namespace

Utf8Unit next_unit(std::string_view text, std::size_t pos) {
  using Kind = Utf8Unit::Kind;
  const std::uint8_t lead = byte_at(text, pos);
  if (lead < 0x80) return {Kind::kComplete, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kIllFormed, 1};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte is limited further where the encoding would be overlong, a surrogate or above U+10FFFF.
  std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < length; ++i) {
    if (pos + i == text.size()) return {Kind::kCut, i};
    const std::uint8_t byte = byte_at(text, pos + i);
    if (byte < low || byte > high) return {Kind::kIllFormed, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::kComplete, length};
}

char32_t next_code_point(std::string_view text, std::size_t& pos) {
  const auto tail = [&](std::size_t offset) {
    return static_cast<char32_t>(byte_at(text, pos + offset) & 0x3F);
  };
  const char32_t lead = byte_at(text, pos);
  char32_t code_point = lead;
  std::size_t length = 1;
  if (lead >= 0xF0) {
    code_point = (lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
    length = 4;
  } else if (lead >= 0xE0) {
    code_point = (lead & 0x0F) << 12 | tail(1) << 6 | tail(2);
    length = 3;
  } else if (lead >= 0x80) {
    code_point = (lead & 0x1F) << 6 | tail(1);
    length = 2;
  }
  pos += length;
  return code_point;
}

std::string take_certain(std::string& pending) {
  std::string out;
  std::size_t pos = 0;
  while (pos < pending.size()) {
    const Utf8Unit unit = next_unit(pending, pos);
    if (unit.kind == Utf8Unit::Kind::kCut) break;
    if (unit.kind == Utf8Unit::Kind::kComplete) {
      out.append(pending, pos, unit.length);
    } else {
      out.append(kReplacement);
    }
    pos += unit.length;
  }
  pending.erase(0, pos);
  return out;
}

std::string to_well_formed(std::string_view text) {
  if (support::is_utf8(text)) return std::string(text);
  std::string pending(text);
  std::string out = take_certain(pending);
  if (!pending.empty()) out.append(kReplacement);
  return out;
}

}  // namespace graft::text
