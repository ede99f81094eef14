// SPDX-License-Identifier: Apache-2.0
#include "common/math_answer.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace rewards::vlm_r1 {
namespace {

bool has_digit(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t next = 0;
    if (digit_value(decode_at(text, at, next)) >= 0) return true;
    at = next;
  }
  return false;
}

}  // namespace

Outcome math(std::string_view completion, std::string_view solution) {
  const std::string student = encode(clean_text(completion)), truth = encode(clean_text(solution));
  if (student == truth || same_number_in_text(student, truth)) return {1.0};
  const std::optional<std::string_view> boxed = last_boxed(student);
  if (!boxed) return {0.0, "no \\boxed{…}"};
  return {normalised_answer(*boxed) == normalised_answer(last_boxed(truth).value_or(truth)) ? 1.0 : 0.0};
}

Outcome default_accuracy(std::string_view completion, std::string_view solution) {
  const std::string_view student = student_of(completion), truth = reference_of(solution);
  if (same_number_in_text(student, truth)) return {1.0};
  if (has_digit(truth)) return numeric(student, truth);
  if (const std::optional<char> expected = extract_choice(truth)) {
    const std::optional<char> chosen = extract_choice(student);
    return {chosen && *chosen == *expected ? 1.0 : 0.0};
  }
  return text_ratio(student, truth);
}

}  // namespace rewards::vlm_r1
