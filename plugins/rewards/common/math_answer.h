// SPDX-License-Identifier: Apache-2.0
// Answers of mathematics in LaTeX or plain text: what the answer is, and when two are equal.
#pragma once

#include "common/numbers.h"

#include <optional>
#include <string>
#include <string_view>

namespace rewards {

// Inside the last \boxed{…} or \fbox{…} whose braces are balanced, or the word after "\boxed ".
[[nodiscard]] std::optional<std::string_view> last_boxed(std::string_view text);

// The normal form of an answer: no line ends, \!, \left, \right, degrees, \$, \%, units after "\text{ ", spaces; tfrac and dfrac are
// frac; ".5" is "0.5"; "k=" is dropped if k has at most two characters; \sqrt3 is \sqrt{3}, \frac12 and 1/2 are \frac{1}{2}, 0.5
// too. (The rules of the MATH data set, Hendrycks et al. 2021.)
[[nodiscard]] std::string normalised_answer(std::string_view text);

// A number: what parse_number reads, \frac{a}{b} of whole or decimal numbers with a sign, one pair of $ or braces around it.
[[nodiscard]] std::optional<Number> math_number(std::string_view text);

// Equal numbers, equal normal forms, or lists ("(1, 2)") of as many parts that are equal one by one.
[[nodiscard]] bool same_answer(std::string_view a, std::string_view b);

// What stands for math_verify's verify(parse(a), parse(b)) in the parity mode: the number of a text is that of its last \boxed, or
// the whole text, or the last number in it; equal numbers are equal.
[[nodiscard]] bool same_number_in_text(std::string_view a, std::string_view b);

}  // namespace rewards
