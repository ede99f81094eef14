// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace graft::objective {

// Formulas and reductions are those of TRL 1.16 (trl/trainer/grpo_trainer.py), which has gspo as grpo with sequence-level
// importance sampling. ρ = exp(logprob - old logprob), A the advantage of the completion:
//
//   grpo      Shao et al. 2024, arXiv:2402.03300: -min(ρA, clip(ρ, 1-ε, 1+ε_high)A); the mean over completions of the mean
//             over their tokens
//   bnpo      the same token losses; their mean over the tokens of the optimizer step
//   dapo      Yu et al. 2025, arXiv:2503.14476: the same; the sum over the tokens by the mean number of tokens that the
//             optimizer steps of this rollout have
//   dr_grpo   Liu et al. 2025, arXiv:2503.20783: the same; the sum by completions · max_completion_length, a constant
//   cispo     MiniMax 2025, arXiv:2506.13585: -stopgrad(min(ρ, ε_high)) A logprob: an upper cap, not an offset from 1;
//             reduced as dapo
//   gspo      Zheng et al. 2025, arXiv:2507.18071: as grpo with one ρ a completion, exp of the mean of its tokens' log-ratios
struct LossOptions {
  std::string loss_type = "grpo";
  bool sequence_ratio = false;  // one ρ a completion, as gspo always has
  double beta = 0.0;            // weight of the k3 penalty; masks of policy_mask do not apply to it
  // The k3 term times ρ, which makes its gradient that of the reverse KL (DeepSeek-AI 2025, arXiv:2512.02556; TRL's default):
  // also on-policy, where ρ is 1 but not its gradient.
  bool use_bias_correction_kl = true;
  double epsilon = 0.2;                      // clip range below 1; not used by cispo
  double epsilon_high = 0.2;                 // above 1; cispo: the cap of ρ itself
  std::optional<double> delta;               // two-sided clipping: ρ of the unclipped branch is at most this
  std::int64_t max_completion_length = 256;  // the constant of dr_grpo

  [[nodiscard]] bool uses_sequence_ratio() const { return sequence_ratio || loss_type == "gspo"; }
};

// What one micro-batch contributes; all flat [N] tensors run over completions in order. Arithmetic is in float64 whatever
// their dtype, so that neither micro-batches nor the order of completions change a loss visibly.
struct LossInput {
  at::Tensor logprobs;  // current policy, with autograd
  at::Tensor
      old_logprobs;  // of the policy that sampled; undefined: logprobs.detach(), so that ρ is exactly 1
  at::Tensor ref_logprobs;            // of the reference; undefined if beta is 0
  at::Tensor policy_mask;             // bool: tokens whose policy loss counts (top entropy); undefined: all
  std::vector<double> advantages;     // one per completion
  std::vector<std::int64_t> lengths;  // one per completion
  std::vector<bool> included;         // false: masked (truncated completions if so configured); empty: all
  std::int64_t step_completions =
      0;  // completions of the whole optimizer step, over all micro-batches, masked ones too
  std::int64_t step_tokens = 0;  // included completion tokens of the whole optimizer step
  double mean_step_tokens =
      0.0;  // the same as a mean over the optimizer steps of the rollout; 0: step_tokens
};

// Which ratios lie outside of the clip range on the side that the advantage favours, so that their tokens give no gradient.
// Units are tokens, or completions if there is one ratio a completion. cispo only counts above its cap.
struct ClipCounts {
  double low = 0.0, high = 0.0;  // clipped units
  double units = 0.0;
  std::vector<double> low_shares, high_shares;  // of each completion that has tokens
};

// Sums over this micro-batch; divide by the step's totals for TRL's means.
struct LossParts {
  at::Tensor
      loss;  // float64 scalar with autograd, already normalised over the whole step: micro-batches add up
  double kl_sum = 0.0;  // Σ of the k3 terms over tokens, as they enter the loss
  ClipCounts clipped;
  std::int64_t tokens = 0;
};

// Loss of a micro-batch. Masked completions (`included`) contribute 0 but count as completions of the step, as in TRL. Throws
// std::invalid_argument for tensors that do not fit, UserError for an unknown loss_type.
[[nodiscard]] LossParts policy_loss(const LossInput& input, const LossOptions& options);

}  // namespace graft::objective
