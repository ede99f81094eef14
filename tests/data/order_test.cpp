// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/error.h"

namespace graft::data {
namespace {

TEST(EpochOrder, EveryEpochHasEverySampleOnceInAnotherOrder) {
  EpochOrder order(20, 1, true);
  std::vector<std::size_t> first = order.range(0, 20), second = order.range(20, 20);
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(first[i], i);
  EXPECT_EQ(first, second);
  EXPECT_EQ(order.epoch(19), 0U);
  EXPECT_EQ(order.epoch(20), 1U);
}

TEST(EpochOrder, DoesNotDependOnHowItIsRead) {
  EpochOrder whole(13, 5, true), parts(13, 5, true), late(13, 5, true);
  const std::vector<std::size_t> all = whole.range(0, 40);
  std::vector<std::size_t> joined;
  for (std::uint64_t at = 0; at < 40; at += 4) {
    for (const std::size_t index : parts.range(at, 4)) joined.push_back(index);
  }
  EXPECT_EQ(joined, all);
  EXPECT_EQ(late.at(33), all[33]);  // a resumed run begins in the middle
  EXPECT_EQ(late.at(2), all[2]);    // and may look back
}

TEST(EpochOrder, DependsOnTheSeed) {
  EpochOrder a(50, 1, true), b(50, 2, true);
  EXPECT_NE(a.range(0, 50), b.range(0, 50));
}

TEST(EpochOrder, WithoutShufflingKeepsTheOrder) {
  EpochOrder order(3, 1, false);
  EXPECT_EQ(order.range(0, 7), (std::vector<std::size_t>{0, 1, 2, 0, 1, 2, 0}));
}

TEST(EpochOrder, NeedsSamples) {
  EXPECT_THROW(EpochOrder(0, 1, true), support::UserError);
}

}  // namespace
}  // namespace graft::data
