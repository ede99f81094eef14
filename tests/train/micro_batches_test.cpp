// SPDX-License-Identifier: Apache-2.0
#include "train/micro_batches.h"

#include <gtest/gtest.h>

#include <limits>

namespace graft::train {
namespace {

using Ranges = std::vector<Range>;
using Tokens = std::vector<std::int64_t>;

TEST(MicroBatches, NoItemsGiveNoPass) {
  EXPECT_EQ(split_micro_batches({}, 10, 4), Ranges());
}

TEST(MicroBatches, ItemsPerPassAreLimited) {
  const Tokens tokens = {5, 5, 5, 5, 5};
  EXPECT_EQ(split_micro_batches(tokens, std::nullopt, 2), (Ranges{{0, 2}, {2, 2}, {4, 1}}));
  EXPECT_EQ(split_micro_batches(tokens, std::nullopt, 5), (Ranges{{0, 5}}));
  EXPECT_EQ(split_micro_batches(tokens, std::nullopt, 1), (Ranges{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}}));
}

TEST(MicroBatches, APassIsFilledUpToTheBudgetInOrder) {
  const Tokens tokens = {4, 6, 1, 7, 2, 2};
  EXPECT_EQ(split_micro_batches(tokens, 10, 6), (Ranges{{0, 2}, {2, 3}, {5, 1}}));
}

TEST(MicroBatches, AnItemBeyondTheBudgetHasItsOwnPass) {
  const Tokens tokens = {3, 30, 3, 3};
  EXPECT_EQ(split_micro_batches(tokens, 10, 4), (Ranges{{0, 1}, {1, 1}, {2, 2}}));
}

TEST(MicroBatches, BothLimitsHoldTogether) {
  const Tokens tokens = {1, 1, 1, 9, 1};
  EXPECT_EQ(split_micro_batches(tokens, 10, 2), (Ranges{{0, 2}, {2, 2}, {4, 1}}));
}

TEST(MicroBatches, HugeBudgetsDoNotOverflow) {
  const Tokens tokens = {1, 2, 3};
  EXPECT_EQ(split_micro_batches(tokens, std::numeric_limits<std::int64_t>::max(), 3), (Ranges{{0, 3}}));
}

}  // namespace
}  // namespace graft::train
