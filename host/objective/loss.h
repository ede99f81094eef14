// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace graft::objective {

struct LossOptions {
  std::string loss_type = "grpo";  // reduction: "grpo", "bnpo", "dr_grpo", "dapo"
  double beta = 0.0;
  double epsilon = 0.2;                      // clip range below 1
  double epsilon_high = 0.2;                 // above 1
  std::int64_t max_completion_length = 256;  // the constant of dr_grpo
};

// What one micro-batch contributes; all flat [N] tensors run over completions in order.
struct LossInput {
  at::Tensor logprobs;                // current policy, with autograd
  at::Tensor old_logprobs;            // of the policy that sampled; undefined: logprobs.detach()
  at::Tensor ref_logprobs;            // of the reference; undefined if beta is 0
  std::vector<double> advantages;     // one per completion
  std::vector<std::int64_t> lengths;  // one per completion
  std::vector<bool> included;         // false: masked (truncated completions if so configured); empty: all
  std::int64_t step_completions = 0;  // completions of the whole optimizer step, over all micro-batches
  std::int64_t step_tokens = 0;       // included completion tokens of the whole optimizer step
};

// Sums over this micro-batch; divide by the step's totals for TRL's means.
struct LossParts {
  at::Tensor loss;      // scalar with autograd, already normalised over the whole step: micro-batches add up
  double kl_sum = 0.0;  // Σ k3 over tokens
  double clip_low_sum = 0.0, clip_high_sum = 0.0;  // tokens clipped below / above
  std::int64_t tokens = 0;
};

// Clipped surrogate with k3 penalty, TRL's formulas: per token −min(ρA, clip(ρ, 1−ε, 1+ε_high)A) +
// β·(e^{ref−lp} − (ref−lp) − 1). grpo: mean over completions of each one's token mean; bnpo and dapo: mean
// over the tokens of the whole step; dr_grpo: sum over tokens / (completions · max_completion_length).
[[nodiscard]] LossParts grpo_loss(const LossInput& input, const LossOptions& options);

}  // namespace graft::objective
