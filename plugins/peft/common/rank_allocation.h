// SPDX-License-Identifier: Apache-2.0
// How AdaLoRA shares a budget of ranks out (Zhang et al. 2023, arXiv:2303.10512, sections 3.2 and 3.3, algorithm 1), as PEFT's
// RankAllocator does it.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>
#include <vector>

namespace peft {

// When, and down to how many triplets. Steps count from 1.
struct RankSchedule {
  std::int64_t warm_up;      // steps with the whole budget
  std::int64_t final_steps;  // steps after the last allocation
  std::int64_t interval;
  std::int64_t total;  // steps in all

  // The step of the last allocation, to the final budget.
  [[nodiscard]] std::int64_t last() const { return total - final_steps; }
  [[nodiscard]] bool allocates(std::int64_t step) const;
  // Triplets that remain, out of `first` at the start and `target` at the end: a cubic decay between.
  [[nodiscard]] std::int64_t budget(std::int64_t step, std::int64_t first, std::int64_t target) const;
  [[nodiscard]] std::int64_t shortest() const { return warm_up + final_steps + 1; }
  void check() const;  // fails if no step is left between the first and the last ones
};

// The triplets of one layer. All tensors float32; changed in place, gradients off.
struct Triplets {
  struct Factor {
    graft::Tensor value, grad;                  // no grad: counts as zero
    graft::Tensor importance, uncertainty;      // averages of |value · grad| and of its distance from them
    [[nodiscard]] graft::Tensor score() const;  // of each element
  };
  Factor a, e, b;      // [r, in], [r, 1], [out, r]
  graft::Tensor mask;  // [r, 1]: 0 for those that were dropped

  void observe(double beta1, double beta2) const;
  [[nodiscard]] graft::Tensor scores() const;  // [r]
  void apply_mask() const;
};

// Drops the `n` triplets of the lowest score, whichever layers they are in; the others are kept, those dropped before included.
void keep_most_important(const std::vector<Triplets>& layers, std::int64_t n);

}  // namespace peft
