// SPDX-License-Identifier: Apache-2.0
// ratio: how much of the answer and of the solution is the same text?
#include <graft/sdk/reward.hpp>

#include "common/boxes.h"
#include "common/params.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace {

struct Ratio : graft::Reward {
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
      : parity_(rewards::wants_vlm_r1(params, Ratio::params())),
        ignore_case_(params.boolean("ignore_case")),
        where_(rewards::where_from(params)) {}

  graft::OutputContract contract() const override {
    return {"<answer>the solution</answer>", "<answer>a red car</answer>", GRAFT_SPACE_NONE,
            where_ == rewards::Where::kAnswer ? GRAFT_PART_ANSWER : 0u, 0};
  }
  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_) {
      return rewards::vlm_r1::scored([&] {
        return rewards::vlm_r1::text_ratio(item.completion(), rewards::vlm_r1::tagged(item.solution()));
      });
    }
    if (item.solution().empty()) return graft::Score::no_opinion("there is no solution");
    const auto text = rewards::scored_text(item.completion(), where_);
    if (!text) return graft::Score::unparsable(0.0, rewards::kNoAnswer);
    const std::u32string answer = normal(*text), expected = normal(rewards::bare_solution(item.solution()));
    // A text so much longer that it cannot score 0.01 is not compared: work stays linear.
    if (answer.size() / 200 > expected.size())
      return graft::Score(0.0, "more than 200 times as long as the solution");
    return rewards::vlm_r1::ratio(answer, expected);
  }

 private:
  std::u32string normal(std::string_view text) const {
    const std::u32string decoded = rewards::decode(rewards::strip(text));
    return ignore_case_ ? rewards::lower(decoded) : decoded;
  }

  bool parity_, ignore_case_;
  rewards::Where where_;
};

}  // namespace

GRAFT_PLUGIN(Ratio);
