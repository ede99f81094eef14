// SPDX-License-Identifier: Apache-2.0
// ratio: how much of the answer and of the solution is the same text?
#include <graft/sdk/reward.hpp>

#include "common/answer_reward.h"
#include "common/unicode.h"

namespace {

struct Ratio : rewards::AnswerReward {
  static constexpr auto name = "ratio";
  static constexpr auto summary =
      "similarity of the answer's text and the solution's, 2 LCS / (their lengths' sum)";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.boolean("ignore_case", true, "capital and small letters are alike");
    rewards::add_where(schema, "anywhere");
    return rewards::add_parity(schema);
  }

  explicit Ratio(const graft::Params& params)
      : AnswerReward(params, Ratio::params(), rewards::vlm_r1::text_ratio),
        ignore_case_(params.boolean("ignore_case")) {}

  graft::OutputContract contract() const override {
    return answer_contract("<answer>the solution</answer>", "<answer>a red car</answer>");
  }

  graft::Score compare(const graft::RewardItem& item) override {
    if (item.solution().empty()) return graft::Score::no_opinion("there is no solution");
    const auto text = answer(item);
    if (!text) return no_answer();
    const std::u32string said = normal(*text), expected = normal(rewards::bare_solution(item.solution()));
    // A text so much longer that it cannot score 0.01 is not compared: work stays linear.
    if (said.size() / 200 > expected.size())
      return graft::Score(0.0, "more than 200 times as long as the solution");
    return rewards::vlm_r1::ratio(said, expected);
  }

 private:
  std::u32string normal(std::string_view text) const {
    const std::u32string decoded = rewards::decode(rewards::strip(text));
    return ignore_case_ ? rewards::lower(decoded) : decoded;
  }

  bool ignore_case_;
};

}  // namespace

GRAFT_PLUGIN(Ratio);
