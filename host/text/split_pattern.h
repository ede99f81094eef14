// SPDX-License-Identifier: Apache-2.0
// Oniguruma's expressions, as tokenizer.json writes them, in PCRE2's syntax. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace graft::text {

// The expression for PCRE2 that matches what Oniguruma (Ruby syntax, as in `tokenizers`) matches with
// `pattern`:
//   - `\s` and `\S` become explicit sets: PCRE2's include U+180E
//   - `\p{L}`, `\p{M}`, `\p{N}` gain the characters of Unicode 15 and 16, if the PCRE2 at hand is older
//   - what the two engines read differently (nested or intersected classes, `\h`, `\w`, `\b`, properties
//   other than
//     general categories, `{n}+`, inline options other than `(?i:`) is refused
// Throws support::UserError saying what is not supported; the caller adds file and key.
std::string to_pcre2(std::string_view pattern);

}  // namespace graft::text
