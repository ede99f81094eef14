// SPDX-License-Identifier: Apache-2.0
// yes_no: does the answer say yes or no as the solution does?
#include <graft/sdk/reward.hpp>

#include "common/answer_reward.h"
#include "common/unicode.h"

namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
}

// The first word that is "yes" or "no", "是", "否" or "不是": 'y', 'n', or 0.
char yes_or_no(std::string_view raw) {
  const std::string text = rewards::lower(raw);
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::string_view rest = std::string_view(text).substr(at);
    if (rest.substr(0, 6) == "不是" || rest.substr(0, 3) == "否") return 'n';
    if (rest.substr(0, 3) == "是") return 'y';
    if (at > 0 && is_letter(text[at - 1])) continue;
    const std::size_t size = rest.substr(0, 3) == "yes" ? 3 : rest.substr(0, 2) == "no" ? 2 : 0;
    if (size != 0 && (rest.size() == size || !is_letter(rest[size]))) return size == 3 ? 'y' : 'n';
  }
  return 0;
}

struct YesNo : rewards::AnswerReward {
  static constexpr auto name = "yes_no";
  static constexpr auto summary = "1 if the answer says yes or no as the solution does, else 0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  static graft::Schema params() {
    graft::Schema schema;
    rewards::add_where(schema, "anywhere");
    return rewards::add_parity(schema);
  }

  explicit YesNo(const graft::Params& params)
      : AnswerReward(params, YesNo::params(), rewards::vlm_r1::yes_no) {}

  graft::OutputContract contract() const override {
    return answer_contract("<answer> with the word yes or no </answer>", "<answer>yes</answer>");
  }

  graft::Score compare(const graft::RewardItem& item) override {
    const char expected = yes_or_no(rewards::bare_solution(item.solution()));
    if (expected == 0) return graft::Score::no_opinion("the solution says neither yes nor no");
    const auto text = answer(item);
    if (!text) return no_answer();
    const char said = yes_or_no(*text);
    if (said == 0) return graft::Score::unparsable(0.0, "neither yes nor no");
    return said == expected ? 1.0 : 0.0;
  }
};

}  // namespace

GRAFT_PLUGIN(YesNo);
