// SPDX-License-Identifier: Apache-2.0
// numeric: is the answer the solution's number?
#include <graft/sdk/reward.hpp>

#include <algorithm>
#include <cmath>

#include "common/answer_reward.h"
#include "common/numbers.h"

namespace {

struct Numeric : rewards::AnswerReward {
  static constexpr auto name = "numeric";
  static constexpr auto summary = "1 if the answer's number is the solution's within a tolerance, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    schema.number("absolute", 0, "allowed difference")
        .minimum(0)
        .number("relative", 0,
                "allowed difference as a part of the solution's size; the larger of the two counts")
        .minimum(0);
    rewards::add_where(schema, "anywhere");
    return rewards::add_parity(schema);
  }

  explicit Numeric(const graft::Params& params)
      : AnswerReward(params, Numeric::params(), rewards::vlm_r1::numeric),
        absolute_(params.number("absolute")),
        relative_(params.number("relative")) {}

  graft::OutputContract contract() const override {
    return answer_contract("<answer> with a number </answer>", "<answer>3</answer>");
  }

  graft::Score compare(const graft::RewardItem& item) override {
    const auto expected = rewards::last_number(rewards::bare_solution(item.solution()));
    if (!expected) return graft::Score::no_opinion("the solution has no number");
    const auto text = answer(item);
    if (!text) return no_answer();
    auto number = rewards::parse_number(*text);
    if (!number) number = rewards::last_number(*text);
    if (!number) return graft::Score::unparsable(0.0, "no number");
    const double allowed = std::max(absolute_, relative_ * std::fabs(expected->value));
    return rewards::same_number(*number, *expected) || std::fabs(number->value - expected->value) <= allowed
               ? 1.0
               : 0.0;
  }

  double absolute_, relative_;
};

}  // namespace

GRAFT_PLUGIN(Numeric);
