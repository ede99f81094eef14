// SPDX-License-Identifier: Apache-2.0
// A reward that does what the completion says: every way in which a reward can go wrong.
#include <graft/sdk/reward.hpp>

#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

struct Faulty : graft::Reward {
  static constexpr auto name = "faulty";
  static constexpr auto summary = "crashes, hangs, leaks … as the completion says; else 0.5";

  graft::Score score(const graft::RewardItem& item) override {
    const std::string_view order = item.completion();
    if (order == "throw") throw std::runtime_error("as told");
    if (order == "crash") std::abort();
    if (order == "exit") std::_Exit(9);
    if (order == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (order == "large") return 7.0;
    while (order == "hang") {
      const volatile int again = 0;
      static_cast<void>(again);
    }
    if (order == "leak") {  // 8 GiB, in pages that are really there
      for (std::size_t i = 0; i < 8192; ++i)
        kept_.push_back(std::make_unique<std::vector<char>>(std::size_t{1} << 20U, 'x'));
    }
    return 0.5;
  }

  std::vector<std::unique_ptr<std::vector<char>>> kept_;
};

struct FaultyBatch : graft::Reward {
  static constexpr auto name = "faulty_batch";
  static constexpr auto summary = "returns one score too few";

  std::vector<graft::Score> score_batch(const graft::RewardBatch& batch) override {
    return std::vector<graft::Score>(batch.size() - 1, 0.5);
  }
};

}  // namespace

GRAFT_PLUGIN(Faulty, FaultyBatch);
