// SPDX-License-Identifier: Apache-2.0
// Strings: building messages without a format library (LibTorch's fmt shadows the system's), small parsing
// helpers, and the "did you mean" behind every unknown-name error. All functions are pure and thread-safe.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace graft::support {

namespace internal {

inline void append(std::string& out, std::string_view value) {
  out.append(value);
}
inline void append(std::string& out, const std::string& value) {
  out.append(value);
}
inline void append(std::string& out, const char* value) {
  out.append(value);
}
inline void append(std::string& out, char value) {
  out.push_back(value);
}
inline void append(std::string& out, bool value) {
  out.append(value ? "true" : "false");
}
inline void append(std::string& out, const std::filesystem::path& value) {
  out.append(value.string());
}

template <typename T>
requires(std::is_arithmetic_v<T> && !std::same_as<T, bool> &&
         !std::same_as<T, char>) void append(std::string& out, T value) {
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  out.append(buffer, result.ptr);
}

}  // namespace internal

// Concatenates strings, paths, characters, booleans ("true"/"false"), integers and floating-point numbers
// (shortest text that reads back to the same value).
template <typename... Args>
std::string cat(const Args&... args) {
  std::string out;
  (internal::append(out, args), ...);
  return out;
}

// "1.235" for (1.2345, 3): fixed notation with `digits` decimals.
std::string fixed(double value, int digits);

// "a, b, c".
std::string join(const std::vector<std::string>& parts, std::string_view separator);

// Splits at every `separator`; empty parts are kept, so an empty text gives one empty part.
std::vector<std::string> split(std::string_view text, char separator);

// Without leading and trailing ASCII white space.
std::string_view trim(std::string_view text);

inline bool starts_with(std::string_view text, std::string_view prefix) {
  return text.starts_with(prefix);
}
inline bool ends_with(std::string_view text, std::string_view suffix) {
  return text.ends_with(suffix);
}
inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// `text` with every occurrence of `from` (not empty) replaced by `to`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

// ASCII only; other bytes stay as they are.
std::string to_lower(std::string_view text);

// Whole-text numbers; false, with `out` untouched, if anything is left over or out of range.
bool parse_number(std::string_view text, std::int64_t& out);
bool parse_number(std::string_view text, double& out);

// Number of insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal
// string alignment distance), over bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `word` by edit distance, ignoring case and taking '-' for '_'; a candidate whose
// last dotted part equals `word` counts as near. Empty if nothing is near enough to be a likely typo.
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

// `; did you mean "x"?` for the nearest candidate, or "" if there is none. To be appended to a message.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// "1.5 GiB", "3.0 MiB", "12 B".
std::string human_bytes(std::uint64_t bytes);

// "24GiB", "1.5 GB", "800 MiB", "4096" (bytes) as a number of bytes; powers of 1024 with an i, of 1000 without. False, with `out`
// untouched, for anything else.
bool parse_bytes(std::string_view text, std::int64_t& out);

// "0.8s", "42s", "3m 05s", "2h 07m", "3d 04h".
std::string human_duration(double seconds);

// True for well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
bool is_utf8(std::string_view text);

}  // namespace graft::support
