// SPDX-License-Identifier: Apache-2.0
// Rewards for tests of the trainer: functions of the token ids alone, so that another program can compute the same ones.
// tests/oracle/trl_grpo.py has the same formulas.
#include <graft/sdk/reward.hpp>

#include <numeric>

namespace {

struct ScriptedA : graft::Reward {
  static constexpr auto name = "scripted_a";
  static constexpr auto summary = "(sum of the ids mod 97) / 97; none if the sum is a multiple of 13";

  graft::Score score(const graft::RewardItem& item) override {
    const std::int64_t sum =
        std::accumulate(item.token_ids(), item.token_ids() + item.n_token_ids(), std::int64_t{0});
    if (sum % 13 == 0) return graft::Score::no_opinion("the sum is a multiple of 13");
    return static_cast<double>(sum % 97) / 97.0;
  }
};

struct ScriptedB : graft::Reward {
  static constexpr auto name = "scripted_b";
  static constexpr auto summary = "number of tokens mod 3; none if the first id is a multiple of 5";
  static constexpr double maximum = 2.0;

  graft::Score score(const graft::RewardItem& item) override {
    if (item.token_ids()[0] % 5 == 0) return graft::Score::no_opinion("the first id is a multiple of 5");
    return static_cast<double>(item.n_token_ids() % 3);
  }
};

}  // namespace

GRAFT_PLUGIN(ScriptedA, ScriptedB);
