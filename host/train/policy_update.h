// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "config/run_config.h"
#include "model/model.h"
#include "objective/logprobs.h"
#include "objective/loss.h"
#include "train/checkpoint.h"
#include "train/experience.h"
#include "train/gradient_guard.h"

namespace graft::train {

// What one optimizer step computed, summed over its micro-batches.
struct UpdateResult {
  double loss = 0.0;
  double kl_sum = 0.0, entropy_sum = 0.0;  // over tokens that are not masked
  std::int64_t tokens = 0;                 // not masked
  objective::ClipCounts clipped;
  // One a micro-batch, flat over its scored tokens, without autograd; float32.
  std::vector<at::Tensor> logprobs, entropies;
};

// Whether old log-probabilities take a pass of their own, or are taken from the rollout, before the first of `mini_batches` optimizer
// steps. That step is on-policy, so with one mini-batch its own pass gives them all.
[[nodiscard]] bool needs_old_first(const std::string& old_logprobs, std::size_t mini_batches);

// The forward and backward passes of the update. Control thread only; the objects given must outlive it.
class PolicyUpdate {
 public:
  PolicyUpdate(model::Model& model, adapt::Adapter& adapter, const config::RunConfig& config);

  // Sets ref_logprobs of every micro-batch: of the base model, or of the initial trained tensors.
  void score_reference(Experience& experience);
  // Sets old_logprobs of every micro-batch, in evaluation mode as the rollout was, where objective.old_logprobs wants them before the update.
  void score_old(Experience& experience) const;
  // Loss and gradients of one optimizer step: gradients are added to those of the trained tensors. In the first iteration of a
  // rollout this may be the pass that gives old_logprobs. Throws DivergedError for a loss that is not finite, and what `guard` throws for one
  // without history.
  [[nodiscard]] UpdateResult accumulate(Experience& experience, MiniBatch& mini, std::int64_t iteration,
                                        const RunState& state, GradientGuard& guard) const;

 private:
  [[nodiscard]] objective::TokenLogprobs logprobs(const Experience& experience, const MicroBatch& micro,
                                                  const objective::LogprobOptions& options) const;
  // Which tokens of each micro-batch belong to the step's top_entropy_quantile (bool [N] each); empty if all count.
  [[nodiscard]] std::vector<at::Tensor> policy_masks(const Experience& experience,
                                                     const MiniBatch& mini) const;
  [[nodiscard]] objective::LossInput loss_input(const Experience& experience, const MiniBatch& mini,
                                                const MicroBatch& micro,
                                                const objective::TokenLogprobs& current) const;

  model::Model& model_;
  adapt::Adapter& adapter_;
  const config::RunConfig& config_;
  objective::LossOptions loss_options_;
};

}  // namespace graft::train
