// SPDX-License-Identifier: Apache-2.0
// Principal components of rows that come in batches (Ross et al. 2008, https://doi.org/10.1007/s11263-007-0075-7), with the randomised
// SVD of Halko et al. 2011 (arXiv:0909.4061, algorithm 5.1), as PEFT's utils/incremental_pca.py has it.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>

namespace lora {

class IncrementalPca {
 public:
  // `count` components are wanted.
  explicit IncrementalPca(std::int64_t count) : count_(count) {}

  // Takes up x [T, in] in any floating dtype, T ≥ count.
  void add(const graft::Tensor& x);
  [[nodiscard]] bool is_empty() const { return n_seen_ == 0; }
  [[nodiscard]] std::int64_t count() const { return count_; }

  // At most `count` of them, by falling variance; no tensors before the first rows.
  [[nodiscard]] const graft::Tensor& components() const { return components_; }  // [k, in], rows of length 1
  [[nodiscard]] const graft::Tensor& singular_values() const { return singular_values_; }  // [k]
  [[nodiscard]] const graft::Tensor& explained() const {
    return explained_;
  }  // [k] shares of the whole variance

 private:
  void add_moments(const graft::Tensor& x);

  std::int64_t count_;
  std::int64_t n_seen_ = 0;
  graft::Tensor mean_, variance_;  // [in], float64
  graft::Tensor components_, singular_values_, explained_;
};

}  // namespace lora
