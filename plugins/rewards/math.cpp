// SPDX-License-Identifier: Apache-2.0
// math: is the answer, usually in \boxed{}, the solution's?
#include <graft/sdk/reward.hpp>

#include "common/boxes.h"
#include "common/math_answer.h"
#include "common/params.h"
#include "common/parts.h"
#include "common/unicode.h"
#include "common/vlm_r1.h"

namespace {

// What a text answers: inside its last \boxed{}, else inside its last <answer>; nothing if it has neither.
std::optional<std::string_view> answer_in(std::string_view text) {
  const auto tagged = rewards::answer_of(text);
  if (const auto boxed = rewards::last_boxed(tagged.value_or(text))) return boxed;
  if (tagged) return rewards::strip(*tagged);
  return std::nullopt;
}

struct Math : graft::Reward {
  static constexpr auto name = "math";
  static constexpr auto summary = "1 if the answer in \\boxed{…} or <answer> equals the solution's, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    return rewards::add_parity(schema);
  }

  explicit Math(const graft::Params& params) : parity_(rewards::wants_vlm_r1(params, Math::params())) {}

  graft::OutputContract contract() const override {
    return {"the answer in \\boxed{…}, or in <answer>", "It is \\boxed{\\frac{1}{2}}.", GRAFT_SPACE_NONE, 0,
            0};
  }
  std::optional<graft::Observation> observe(const graft::RewardItem& item) override {
    graft::Observation seen = rewards::observe(item);
    if (const auto answer = answer_in(item.completion())) seen.answer = *answer;
    return seen;
  }

  graft::Score score(const graft::RewardItem& item) override {
    if (parity_) {
      return rewards::vlm_r1::scored(
          [&] { return rewards::vlm_r1::math(item.completion(), rewards::vlm_r1::tagged(item.solution())); });
    }
    const std::string_view solution = rewards::strip(item.solution());
    if (solution.empty()) return graft::Score::no_opinion("there is no solution");
    const auto answer = answer_in(item.completion());
    if (!answer) return graft::Score::unparsable(0.0, "no \\boxed{…} and no <answer>…</answer>");
    return rewards::same_answer(*answer, answer_in(solution).value_or(solution)) ? 1.0 : 0.0;
  }

  bool parity_;
};

}  // namespace

GRAFT_PLUGIN(Math);
