// SPDX-License-Identifier: Apache-2.0
#include "text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "support/error.h"
#include "support/strings.h"
#include "text/unicode_ranges.h"
#include "text/utf8.h"

namespace graft::text {

namespace {

constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
constexpr std::size_t kLongestDecomposition =
    18;  // code points of one character, any form (Unicode 15: U+FDFA)

using CodePoints = std::vector<utf8proc_int32_t>;

// Nothing below U+0300 changes, and U+0300 begins with the byte 0xCC.
bool is_trivially_nfc(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<std::uint8_t>(c) < 0xCC; });
}

int combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

CodePoints decompose(const CodePoints& code_points) {
  CodePoints out;
  out.reserve(code_points.size() + code_points.size() / 4);
  std::array<utf8proc_int32_t, kLongestDecomposition> buffer{};
  for (const utf8proc_int32_t code_point : code_points) {
    int boundary = 0;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char(code_point, buffer.data(), buffer.size(), kOptions, &boundary);
    if (n < 0) throw support::UserError(support::cat("cannot normalize text: ", utf8proc_errmsg(n)));
    out.insert(out.end(), buffer.begin(), buffer.begin() + n);
  }
  return out;
}

// The canonical ordering algorithm (Unicode 3.11, D109). utf8proc's own is an insertion sort, quadratic on a
// long run of marks.
void order_marks(CodePoints& code_points) {
  const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
  auto run = code_points.begin();
  while (run != code_points.end()) {
    run = std::find_if_not(run, code_points.end(), is_starter);
    const auto end = std::find_if(run, code_points.end(), is_starter);
    if (end - run > 1) {
      std::stable_sort(run, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
        return combining_class(a) < combining_class(b);
      });
    }
    run = end;
  }
}

void append_normalized(std::string& out, CodePoints& piece) {
  CodePoints ordered = decompose(piece);
  order_marks(ordered);
  const utf8proc_ssize_t n =
      utf8proc_normalize_utf32(ordered.data(), static_cast<utf8proc_ssize_t>(ordered.size()), kOptions);
  for (utf8proc_ssize_t i = 0; i < n; ++i) {
    append_utf8(out, static_cast<char32_t>(ordered[static_cast<std::size_t>(i)]));
  }
  piece.clear();
}

}  // namespace

std::string to_nfc(std::string_view utf8) {
  if (is_trivially_nfc(utf8)) return std::string(utf8);
  std::string out;
  out.reserve(utf8.size());
  CodePoints piece;
  for (std::size_t pos = 0; pos < utf8.size();) {
    const char32_t code_point = next_code_point(utf8, pos);
    if (in_ranges(kNormalizedSinceUnicode11, code_point)) {
      append_normalized(out, piece);
      append_utf8(out, code_point);
    } else {
      piece.push_back(static_cast<utf8proc_int32_t>(code_point));
    }
  }
  append_normalized(out, piece);
  return out;
}

}  // namespace graft::text
