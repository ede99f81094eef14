// SPDX-License-Identifier: Apache-2.0
// A reward that waits for something that never comes.
#include <graft/sdk/reward.hpp>

#include <unistd.h>

namespace {

struct Hangs : graft::Reward {
  static constexpr auto name = "hangs";
  graft::Score score(const graft::RewardItem&) override {
    for (;;) ::pause();
  }
};

}  // namespace

GRAFT_PLUGIN(Hangs);
