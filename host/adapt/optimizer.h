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
  double weight_decay =
      0.0;  // not of base parameters with fewer than two dimensions (biases, norms), as transformers does
};

// AdamW with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2), equal to
// torch.optim.AdamW; float32 state beside each trained tensor. Control thread only.
class AdamW {
 public:
  // `trained`: float32 leaves on one device with distinct names.
  AdamW(std::vector<AdapterTensor> trained, OptimizerOptions options);

  // Global L2 norm of all gradients; scales them so that it is at most max_norm
  // (torch.nn.utils.clip_grad_norm_). Returns the norm before scaling; one that is not finite scales nothing.
  // max_norm <= 0 only measures.
  double clip_grad_norm(double max_norm);
  // One update of every tensor that has a gradient; the others keep their moments and their step count.
  void step(double learning_rate);
  void zero_grad();  // drops the gradients

  // A safetensors file of "<name>.exp_avg", "<name>.exp_avg_sq" and "<name>.step" for each trained tensor:
  // all that step() depends on, bit for bit. load() throws UserError for a file of other tensors and changes
  // nothing then.
  void save(const std::filesystem::path& file) const;
  void load(const std::filesystem::path& file);

 private:
  void update(const std::vector<std::size_t>& which, double learning_rate, double weight_decay);

  std::vector<AdapterTensor> trained_;
  OptimizerOptions options_;
  std::vector<at::Tensor> first_, second_;  // moments
  std::vector<at::Tensor> steps_;           // float32 scalars: updates so far
};

}  // namespace graft::adapt
