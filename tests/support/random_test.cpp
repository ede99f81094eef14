// SPDX-License-Identifier: Apache-2.0
#include "support/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace graft::support {
namespace {

// Known answers of the authors' Random123 library (kat_vectors, philox4x32 10).
TEST(Philox, EqualsTheAuthorsKnownAnswers) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(KeyedRandom, IsAFunctionOfSeedAndKeys) {
  KeyedRandom a(7, {1, 2, 3}), b(7, {1, 2, 3});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
}

TEST(KeyedRandom, DiffersByEachKeyTheirOrderAndTheirNumber) {
  std::set<std::uint64_t> firsts;
  const auto add = [&](KeyedRandom random) { firsts.insert(random.next()); };
  add(KeyedRandom(7, {}));
  add(KeyedRandom(7, {0}));
  add(KeyedRandom(7, {0, 0}));
  add(KeyedRandom(7, {1, 2}));
  add(KeyedRandom(7, {2, 1}));
  add(KeyedRandom(8, {1, 2}));
  add(KeyedRandom(7, {1, 3}));
  EXPECT_EQ(firsts.size(), 7U);
}

// Guards the stream itself: a changed one would change every seeded run.
TEST(KeyedRandom, KeepsItsStream) {
  KeyedRandom random(0, {1, 2});
  const std::uint64_t first = random.next(), second = random.next(), third = random.next();
  EXPECT_EQ(first, 0xcd2ecd9719962c4aULL);
  EXPECT_EQ(second, 0x17d4436aa64f852ULL);
  EXPECT_EQ(third, 0x4218ef8102187833ULL);
}

TEST(KeyedRandom, StreamsOfNeighbouringKeysAreIndependent) {
  // The correlation of the uniforms of neighbouring keys, over many keys, must look like that of independent
  // ones: its standard deviation is 1 / sqrt(n).
  constexpr int kCount = 20000;
  double sum = 0;
  for (std::uint64_t key = 0; key < kCount; ++key) {
    sum += (KeyedRandom(3, {key}).uniform() - 0.5) * (KeyedRandom(3, {key + 1}).uniform() - 0.5);
  }
  EXPECT_LT(std::abs(sum / kCount * 12), 4.0 / std::sqrt(double{kCount}));
}

TEST(KeyedRandom, UniformLiesInTheHalfOpenUnitIntervalAndIsFlat) {
  KeyedRandom random(1, {});
  std::array<int, 16> bins{};
  constexpr int kCount = 32000;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    ++bins[static_cast<std::size_t>(value * 16)];
  }
  double chi_square = 0;
  for (const int bin : bins) chi_square += (bin - 2000.0) * (bin - 2000.0) / 2000.0;
  EXPECT_LT(chi_square, 37.7);  // 15 degrees of freedom, p = 0.001
}

TEST(KeyedRandom, NormalHasMeanZeroVarianceOneAndKurtosisThree) {
  KeyedRandom random(2, {5});
  constexpr int kCount = 100000;
  double sum = 0, squares = 0, fourths = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.normal();
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
    fourths += value * value * value * value;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.015);
  EXPECT_NEAR(squares / kCount, 1.0, 0.02);
  EXPECT_NEAR(fourths / kCount, 3.0, 0.15);
}

TEST(KeyedRandom, BelowReachesEveryValueEvenly) {
  KeyedRandom random(3, {});
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);
  EXPECT_EQ(random.below(1), 0U);
}

TEST(KeyedRandom, BetweenIncludesBothEnds) {
  KeyedRandom random(4, {});
  std::set<std::int64_t> seen;
  for (int i = 0; i < 200; ++i) seen.insert(random.between(-1, 2));
  EXPECT_EQ(seen, (std::set<std::int64_t>{-1, 0, 1, 2}));
}

TEST(Shuffle, IsAPermutationAndDependsOnTheKey) {
  std::vector<int> items(50);
  std::iota(items.begin(), items.end(), 0);
  std::vector<int> first = items, second = items;
  KeyedRandom a(1, {1}), b(1, {2});
  shuffle(first, a);
  shuffle(second, b);
  EXPECT_NE(first, items);
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  EXPECT_EQ(first, items);
}

TEST(HashString, IsStableAndSensitive) {
  EXPECT_EQ(hash_string(""), mix64(0xCBF29CE484222325ULL));
  EXPECT_EQ(hash_string("a"), mix64(0xAF63DC4C8601EC8CULL));  // FNV-1a's published value for "a"
  EXPECT_NE(hash_string("ab"), hash_string("ba"));
}

}  // namespace
}  // namespace graft::support
