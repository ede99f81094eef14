// SPDX-License-Identifier: Apache-2.0
// Tagged parts and fences of a completion. Each search is linear in the text.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace rewards {

constexpr std::size_t kNone = std::string_view::npos;

// re.search / the last of re.findall with `open(.*?)close`: left to right, not overlapping. The text between.
[[nodiscard]] std::optional<std::string_view> first_between(std::string_view text, std::string_view open,
                                                            std::string_view close);
[[nodiscard]] std::optional<std::string_view> last_between(std::string_view text, std::string_view open,
                                                           std::string_view close);
// The same without DOTALL: no "\n" between the two.
[[nodiscard]] std::optional<std::string_view> first_between_on_a_line(std::string_view text,
                                                                      std::string_view open,
                                                                      std::string_view close);

// Behind the first `</think>\s*<answer>` that begins at `at` or later; kNone if there is none.
[[nodiscard]] std::size_t after_think_answer(std::string_view text, std::size_t at);

// The answer of a completion: what is inside the last closed <answer>; the text behind an <answer> that is never closed if
// `allow_open`.
[[nodiscard]] std::optional<std::string_view> answer_of(std::string_view text, bool allow_open = false);

}  // namespace rewards
