// SPDX-License-Identifier: Apache-2.0
// Unicode normalization form C, as the `tokenizers` library does it.
#pragma once

#include <string>
#include <string_view>

namespace graft::text {

// NFC of well-formed UTF-8, in O(n log n) whatever the text. Pure, thread-safe.
//
// The tables of `tokenizers` (crate unicode-normalization-alignments) are those of Unicode 10, the ones here
// the system's. So that ids do not depend on the machine, characters that got a combining class or a
// composition later are left where they are and separate what stands on their two sides: to the older tables
// they are plain letters.
std::string to_nfc(std::string_view utf8);

}  // namespace graft::text
