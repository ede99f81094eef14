// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "adapt/adapter.h"

namespace graft::adapt {

struct OptimizerOptions {
  double learning_rate = 1e-6;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.0;
};

// AdamW with decoupled weight decay (Loshchilov & Hutter, 2019), equal to torch.optim.AdamW; float32 state
// beside each trained tensor.
class AdamW {
 public:
  AdamW(std::vector<AdapterTensor> trained, OptimizerOptions options);
  // Global L2 norm of all gradients; scales them so that it is at most max_norm
  // (torch.nn.utils.clip_grad_norm_). Returns the norm before scaling. max_norm <= 0 only measures.
  double clip_grad_norm(double max_norm);
  void step(double learning_rate);
  void zero_grad();  // drops the gradients
  // Names of trained tensors that have no gradient now: the first-step guard.
  [[nodiscard]] std::vector<std::string> without_gradient() const;
  // optimizer.safetensors: moments by tensor name, step count in the metadata.
  void save(const std::filesystem::path& file) const;
  void load(const std::filesystem::path& file);

 private:
  std::vector<AdapterTensor> trained_;
  OptimizerOptions options_;
  std::vector<at::Tensor> first_, second_;  // moments
  std::int64_t step_ = 0;
};

}  // namespace graft::adapt
