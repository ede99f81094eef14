// SPDX-License-Identifier: Apache-2.0
// The smallest reward in C++, built from the installed SDK without this project's flags.
#include <graft/sdk/reward.hpp>

struct MyReward : graft::Reward {
  static constexpr auto name = "clip";
  graft::Score score(const graft::RewardItem& item) override { return item.is_truncated() ? 0.0 : 1.0; }
};

GRAFT_PLUGIN(MyReward);
