// SPDX-License-Identifier: Apache-2.0
// Numbers as people and models write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace rewards {

// A number; exact as numerator / denominator while both fit 64 bits.
struct Number {
  double value = 0.0;
  std::int64_t numerator = 0, denominator = 0;  // denominator 0: not exact
};

// Is it the same number: exactly if both are exact, else to 1e-9 of the larger.
[[nodiscard]] bool same_number(const Number& a, const Number& b);

// The whole text is one number: "-3", "+1,234.5", ".5", "1.5e3", "50%", "1/2", "−7" (U+2212), with white space around.
[[nodiscard]] std::optional<Number> parse_number(std::string_view text);

// The last number within a text, such as 3 in "about 3 cats". Digits that belong to a word ("x2") count too.
[[nodiscard]] std::optional<Number> last_number(std::string_view text);

}  // namespace rewards
