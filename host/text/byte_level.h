// SPDX-License-Identifier: Apache-2.0
// GPT-2's spelling of bytes as printable characters, in which byte-level vocabularies are written ("Ġ" is a
// space).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace graft::text {

// The character for a byte, as UTF-8: itself for the printable ones of Latin-1, else one of U+0100 … U+0143.
std::string_view byte_spelling(std::uint8_t byte);

// Bytes spelled as characters.
std::string spell_bytes(std::string_view bytes);

// Characters (well-formed UTF-8) back to bytes; empty optional if one of them spells no byte.
std::optional<std::string> unspell_bytes(std::string_view spelled);

// The expression that the ByteLevel pre-tokenizer applies if its use_regex is set: GPT-2's words.
inline constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace graft::text
