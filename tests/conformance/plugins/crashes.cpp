// SPDX-License-Identifier: Apache-2.0
// A reward that no check of its tables can find: it aborts on the first completion with a NUL.
#include <graft/sdk/reward.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

struct Crashes : graft::Reward {
  static constexpr auto name = "crashes";
  graft::Score score(const graft::RewardItem& item) override {
    if (item.completion().find('\0') == std::string_view::npos) return 0.0;
    std::fputs("cannot handle this text\n", stderr);
    std::abort();
  }
};

}  // namespace

GRAFT_PLUGIN(Crashes);
