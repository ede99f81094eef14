// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace graft::memory {

// States of LibTorch's default generators at one moment, so that what was drawn from there on can be drawn
// again.
class RandomState {
 public:
  // Of the CPU's generator, and of those of the devices that `inputs` are on. A few microseconds.
  static RandomState capture(const std::vector<at::Tensor>& inputs);

  // Sets the generators back to the captured state, and at its end to where they were before.
  class Scope {
   public:
    explicit Scope(const RandomState& replayed);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    std::vector<std::pair<at::Generator, at::Tensor>> before_;
  };

 private:
  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

}  // namespace graft::memory
