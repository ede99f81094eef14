// SPDX-License-Identifier: Apache-2.0
// The order in which samples are used: a function of the seed and the position in the run alone, so it does
// not depend on batch splits and a resumed run continues where it stopped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace graft::data {

// Position p is sample p mod n of epoch p / n. Each epoch has every sample once, in an order drawn from
// (seed, epoch), or in the data set's order without shuffling. Keeps one epoch's permutation; not
// thread-safe.
class EpochOrder {
 public:
  // Throws UserError if there is no sample.
  EpochOrder(std::size_t n_samples, std::uint64_t seed, bool shuffle);

  // Index of the sample at a position of the run, counted from 0.
  [[nodiscard]] std::size_t at(std::uint64_t position);
  // Samples at `count` positions from `first` on.
  [[nodiscard]] std::vector<std::size_t> range(std::uint64_t first, std::size_t count);
  // Which pass over the data a position belongs to.
  [[nodiscard]] std::uint64_t epoch(std::uint64_t position) const { return position / n_samples_; }

 private:
  std::size_t n_samples_;
  std::uint64_t seed_;
  bool shuffle_;
  std::uint64_t epoch_ = 0;
  std::vector<std::size_t> permutation_;  // of epoch_; empty: not made yet
};

}  // namespace graft::data
