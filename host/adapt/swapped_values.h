// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace graft::adapt {

// Puts other values into tensors for a scope. The tensors stay the same objects over other memory; no graph may be alive.
class SwappedValues {
 public:
  SwappedValues(std::vector<at::Tensor> tensors, const std::vector<at::Tensor>& values)
      : tensors_(std::move(tensors)) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      current_.push_back(tensors_[i].detach());
      tensors_[i].set_data(values[i]);
    }
  }
  ~SwappedValues() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].set_data(current_[i]);
  }
  SwappedValues(const SwappedValues&) = delete;
  SwappedValues& operator=(const SwappedValues&) = delete;

 private:
  std::vector<at::Tensor> tensors_, current_;
};

}  // namespace graft::adapt
