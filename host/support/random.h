// SPDX-License-Identifier: Apache-2.0
// Random numbers that depend on nothing but their key.
//
// A run draws with keys such as (seed, step, prompt, sample), so what is drawn does not depend on batch
// splits, threads or where a run was resumed. The generator is Philox4x32-10: J. K. Salmon, M. A. Moraes, R.
// O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. std:: distributions are not
// used anywhere: their results differ between standard libraries.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace graft::support {

// One block of Philox4x32 with ten rounds: 128 random bits from a 128-bit counter and a 64-bit key.
std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter,
                                           std::array<std::uint32_t, 2> key);

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64-bit words that mixes well.
std::uint64_t mix64(std::uint64_t word);

// A 64-bit hash of bytes that is the same on every machine and in every version: FNV-1a, then mix64.
std::uint64_t hash_string(std::string_view text);

// A stream of random numbers selected by (seed, keys); the order of the keys matters. Cheap to make (a few
// dozen instructions), so make one per draw site instead of sharing. Not thread-safe; copy it freely.
class KeyedRandom {
 public:
  KeyedRandom(std::uint64_t seed, std::initializer_list<std::uint64_t> keys);

  // 64 uniform random bits.
  std::uint64_t next();

  // Uniform in [0, 1), a multiple of 2^-53.
  double uniform();

  // Standard normal (Box and Muller 1958; one of the pair is kept for the next call).
  double normal();

  // Uniform in [0, n), without bias; n = 0 is taken as 2^64.
  std::uint64_t below(std::uint64_t n);

  // Uniform in [low, high], both included; low <= high.
  std::int64_t between(std::int64_t low, std::int64_t high);

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t stream_;     // upper half of the counter
  std::uint64_t block_ = 0;  // lower half of the counter
  std::uint64_t spare_ = 0;  // second half of the last block
  double spare_normal_ = 0.0;
  bool has_spare_ = false;
  bool has_spare_normal_ = false;
};

// Fisher-Yates; the same permutation on every platform.
template <typename T>
void shuffle(std::vector<T>& items, KeyedRandom& random) {
  using std::swap;
  for (std::size_t i = items.size(); i > 1; --i) {
    swap(items[i - 1], items[static_cast<std::size_t>(random.below(i))]);
  }
}

}  // namespace graft::support
