// SPDX-License-Identifier: Apache-2.0
// multiple_choice: does the answer choose the solution's letter?
#include <graft/sdk/reward.hpp>

#include <algorithm>

#include "common/answer_reward.h"
#include "common/math_answer.h"
#include "common/parts.h"
#include "common/unicode.h"

namespace {

bool is_word(char32_t c) {
  return (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z') || (c >= U'0' && c <= U'9') || c == U'\'' ||
         c == U'_';
}

// The first or last letter of `letters` that stands alone in `text`; 0 if there is none.
char lone_letter(std::u32string_view text, std::string_view letters, bool last) {
  char found = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] >= 0x80 || letters.find(static_cast<char>(text[i])) == std::string_view::npos) continue;
    if ((i > 0 && is_word(text[i - 1])) || (i + 1 < text.size() && is_word(text[i + 1]))) continue;
    found = static_cast<char>(text[i]);
    if (!last) break;
  }
  return found;
}

// The letter that an answer chooses: in its last \boxed{}; else the letter it consists of or begins with ("b", "(B)", "B. a cat");
// else the first one behind the last "answer", "option", "choice", "答案" or "选"; else the last capital that stands alone.
std::optional<char> chosen_letter(std::string_view raw, const std::string& letters) {
  if (const auto boxed = rewards::last_boxed(raw)) raw = *boxed;
  const std::u32string decoded = rewards::decode(rewards::strip(raw));
  const std::u32string_view text = decoded;
  const std::size_t begin = text.find_first_not_of(U"([{<*\"'（【「$ ");
  if (begin == std::u32string_view::npos) return std::nullopt;
  const char32_t first = text[begin] >= U'a' && text[begin] <= U'z' ? text[begin] - 32 : text[begin];
  constexpr std::u32string_view kMarks = U").:,;]}>*\"'）】」、。：，$";
  if (first < 0x80 && letters.find(static_cast<char>(first)) != std::string::npos &&
      (begin + 1 == text.size() || kMarks.find(text[begin + 1]) != std::u32string_view::npos))
    return static_cast<char>(first);
  const std::u32string lowered = rewards::lower(text);
  if (lowered.size() == text.size()) {
    std::size_t behind = 0;
    for (const std::u32string_view word : {U"answer", U"option", U"choice", U"答案", U"选"}) {
      const std::size_t at = std::u32string_view(lowered).rfind(word);
      if (at != std::u32string_view::npos) behind = std::max(behind, at + word.size());
    }
    const char letter = behind == 0 ? '\0' : lone_letter(text.substr(behind), letters, false);
    if (letter != 0) return letter;
  }
  const char letter = lone_letter(text, letters, true);
  if (letter == 0) return std::nullopt;
  return letter;
}

struct MultipleChoice : rewards::AnswerReward {
  static constexpr auto name = "multiple_choice";
  static constexpr auto summary = "1 if the answer chooses the solution's letter, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.string("letters", "ABCDEFGH", "letters that can be chosen, capitals");
    rewards::add_where(schema, "anywhere");
    return rewards::add_parity(schema);
  }

  explicit MultipleChoice(const graft::Params& params)
      : AnswerReward(params, MultipleChoice::params(), rewards::vlm_r1::multiple_choice),
        letters_(params.string("letters")) {
    for (const char c : letters_) {
      if (c < 'A' || c > 'Z')
        throw graft::Error("\"letters\" is \"" + letters_ + "\", expected capitals such as \"ABCD\"");
    }
  }

  graft::OutputContract contract() const override {
    return answer_contract("<answer> with one letter of the choices </answer>", "<answer>B</answer>");
  }

  graft::Score compare(const graft::RewardItem& item) override {
    const std::optional<char> expected = chosen_letter(rewards::bare_solution(item.solution()), letters_);
    if (!expected) return graft::Score::no_opinion("the solution has no letter of \"" + letters_ + "\"");
    const auto text = answer(item);
    if (!text) return no_answer();
    const std::optional<char> chosen = chosen_letter(*text, letters_);
    if (!chosen) return graft::Score::unparsable(0.0, "no letter of \"" + letters_ + "\" that stands alone");
    return *chosen == *expected ? 1.0 : 0.0;
  }

  std::string letters_;
};

}  // namespace

GRAFT_PLUGIN(MultipleChoice);
