// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <graft/peft.h>

#include <deque>
#include <vector>

#include "adapt/strategy_hook.h"
#include "model/model.h"

namespace graft::adapt {

enum class Weights { kNone, kLent };  // of the base layers
enum class Grads { kNone, kLent };

// All adapted sites as graft_peft_model, for calls on the control thread. Borrows from the hook and the parameters, both of
// which must outlive it; keeps the gradients that it lends.
class ModelView {
 public:
  ModelView(const StrategyHook& hook, const std::vector<model::Site>& sites,
            const std::vector<model::Param>& params, Weights weights, Grads grads = Grads::kNone,
            std::int64_t step = 0, std::int64_t total_steps = 0);
  ModelView(const ModelView&) = delete;
  ModelView& operator=(const ModelView&) = delete;

  [[nodiscard]] const graft_peft_model& raw() const { return raw_; }

 private:
  // Handles of the gradients of `params`; null if none are lent.
  const graft_tensor* lend_grads(const std::vector<at::Tensor>& params, Grads grads);

  std::deque<std::vector<graft_tensor>> handles_;
  std::deque<at::Tensor> kept_;
  std::deque<graft_peft_values> values_;
  std::vector<const graft_peft_values*> list_;
  graft_peft_model raw_;
};

// One site in float32, for merging and export: base weight and bias converted, on the CPU.
class Float32Site {
 public:
  Float32Site(const AdaptedSite& site, const std::vector<at::Tensor>& shared, const at::Tensor& weight,
              const at::Tensor& bias);
  Float32Site(const Float32Site&) = delete;
  Float32Site& operator=(const Float32Site&) = delete;

  [[nodiscard]] const graft_peft_values& raw() const { return raw_; }

 private:
  at::Tensor weight_, bias_;
  std::vector<graft_tensor> shared_;
  graft_peft_values raw_;
};

}  // namespace graft::adapt
