// SPDX-License-Identifier: Apache-2.0
// What rewards that compare an answer in words with the solution have in common.
#pragma once

#include <graft/sdk/reward.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "common/boxes.h"
#include "common/params.h"
#include "common/vlm_r1.h"

namespace rewards {

// With the parameters "where" and "parity" (add_where, add_parity) among its own.
class AnswerReward : public graft::Reward {
 public:
  // VLM-R1's form of the reward, for parity=vlm_r1; the solution is tagged.
  using Parity = vlm_r1::Outcome (*)(std::string_view completion, std::string_view solution);

  AnswerReward(const graft::Params& params, const graft::Schema& schema, Parity parity)
      : parity_(wants_vlm_r1(params, schema) ? parity : nullptr), where_(where_from(params)) {}

  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    return rewards::observe(item);
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_ == nullptr) return compare(item);
    return vlm_r1::scored([&] { return parity_(item.completion(), vlm_r1::tagged(item.solution())); });
  }

 protected:
  // The corrected form.
  virtual graft::Score compare(const graft::RewardItem& item) = 0;

  [[nodiscard]] graft::OutputContract answer_contract(const char* format, const char* example) const {
    return {format, example, GRAFT_SPACE_NONE, where_ == Where::kAnswer ? GRAFT_PART_ANSWER : 0u, 0};
  }
  // The text to score; without one the score is no_answer().
  [[nodiscard]] std::optional<std::string_view> answer(const graft::RewardItem& item) const {
    return scored_text(item.completion(), where_);
  }
  [[nodiscard]] static graft::Score no_answer() { return graft::Score::unparsable(0.0, kNoAnswer); }

 private:
  Parity parity_;  // null: the corrected form
  Where where_;
};

}  // namespace rewards
