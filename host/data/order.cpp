// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include <numeric>

#include "support/error.h"
#include "support/random.h"

namespace graft::data {

EpochOrder::EpochOrder(std::size_t n_samples, std::uint64_t seed, bool shuffle)
    : n_samples_(n_samples), seed_(seed), shuffle_(shuffle) {
  if (n_samples == 0) throw support::UserError("the data set is empty");
}

std::size_t EpochOrder::at(std::uint64_t position) {
  const auto index = static_cast<std::size_t>(position % n_samples_);
  if (!shuffle_) return index;
  const std::uint64_t wanted = epoch(position);
  if (permutation_.empty() || wanted != epoch_) {
    permutation_.resize(n_samples_);
    std::iota(permutation_.begin(), permutation_.end(), std::size_t{0});
    support::KeyedRandom random(seed_, {support::hash_string("data.order"), wanted});
    support::shuffle(permutation_, random);
    epoch_ = wanted;
  }
  return permutation_[index];
}

std::vector<std::size_t> EpochOrder::range(std::uint64_t first, std::size_t count) {
  std::vector<std::size_t> out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = at(first + i);
  return out;
}

}  // namespace graft::data
