// SPDX-License-Identifier: Apache-2.0
// exact_match: is the answer the solution, word for word?
#include <graft/sdk/reward.hpp>

#include "common/answer_reward.h"
#include "common/unicode.h"

namespace {

struct ExactMatch : rewards::AnswerReward {
  static constexpr auto name = "exact_match";
  static constexpr auto summary = "1 if the answer is the solution but for white space and case, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.boolean("ignore_case", true, "capital and small letters are alike")
        .boolean("ignore_final_dot", true, "full stops at the end do not count");
    rewards::add_where(schema, "anywhere");
    return rewards::add_parity(schema);
  }

  explicit ExactMatch(const graft::Params& params)
      : AnswerReward(params, ExactMatch::params(), rewards::vlm_r1::all_match),
        ignore_case_(params.boolean("ignore_case")),
        ignore_dot_(params.boolean("ignore_final_dot")) {}

  graft::OutputContract contract() const override {
    return answer_contract("<answer>the solution</answer>", "<answer>red</answer>");
  }

  graft::Score compare(const graft::RewardItem& item) override {
    if (item.solution().empty()) return graft::Score::no_opinion("there is no solution");
    const auto text = answer(item);
    if (!text) return no_answer();
    return normal(*text) == normal(rewards::bare_solution(item.solution())) ? 1.0 : 0.0;
  }

 private:
  // White space: none at the ends, one space for each run within.
  std::string normal(std::string_view text) const {
    text = rewards::strip(text);
    while (ignore_dot_ && !text.empty() && text.back() == '.') text.remove_suffix(1);
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t next = rewards::skip_spaces(text, at);
      if (next > at) out += ' ';
      if (next < text.size()) out += text[next];
      at = next + 1;
    }
    return ignore_case_ ? rewards::lower(out) : out;
  }

  bool ignore_case_, ignore_dot_;
};

}  // namespace

GRAFT_PLUGIN(ExactMatch);
