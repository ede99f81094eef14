// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "config/run_config.h"
#include "model/model.h"
#include "objective/advantages.h"
#include "objective/logprobs.h"
#include "objective/loss.h"
#include "rewards/rewards.h"
#include "rollout/rollout.h"
#include "train/checkpoint.h"
#include "train/prompt_source.h"

namespace graft::train {

// What a step leaves behind for people and files.
struct StepReport {
  nlohmann::ordered_json metrics;      // TRL's names
  nlohmann::ordered_json completions;  // list of {prompt, completion, solution, rewards, advantage}
};

// Group Relative Policy Optimization (Shao et al. 2024, arXiv:2402.03300, algorithm 1) with a PEFT adapter as the policy.
// Control thread only. The objects given must outlive the trainer.
class GrpoTrainer {
 public:
  GrpoTrainer(model::Model& model, adapt::Adapter& adapter, const rewards::RewardSet& rewards,
              const PromptSource& prompts, const config::RunConfig& config);

  // One step of the algorithm: sample, score, compare within groups, improve. On support::Interrupted nothing has
  // changed. Throws DivergedError if loss or gradients stop being finite, UserError if a trainable tensor gets no gradient on
  // the first step.
  [[nodiscard]] StepReport step();

  [[nodiscard]] RunState& state() { return state_; }
  [[nodiscard]] adapt::AdamW& optimizer() { return optimizer_; }

 private:
  // Prompts of one step with their vision features.
  struct Batch {
    std::vector<PromptItem> items;
    std::vector<at::Tensor> image_values;
  };
  // Per-token tensors of one micro-batch, kept over the iterations of a step.
  struct MicroBatch {
    std::size_t first = 0, count = 0;  // prompts
    at::Tensor old_logprobs, ref_logprobs;
  };
  struct UpdateSums {
    double loss = 0.0, kl = 0.0, entropy = 0.0, clip_low = 0.0, clip_high = 0.0, grad_norm = 0.0;
    std::int64_t tokens = 0;
  };

  [[nodiscard]] Batch draw_batch();
  [[nodiscard]] rollout::Rollouts sample(const Batch& batch) const;
  [[nodiscard]] rewards::Scores score(const Batch& batch, const rollout::Rollouts& rollouts) const;
  [[nodiscard]] std::vector<MicroBatch> micro_batches(const Batch& batch) const;
  void reference_logprobs(const Batch& batch, const rollout::Rollouts& rollouts,
                          std::vector<MicroBatch>& micro);
  [[nodiscard]] UpdateSums improve(const Batch& batch, const rollout::Rollouts& rollouts,
                                   const objective::Advantages& advantages, std::vector<MicroBatch>& micro,
                                   std::int64_t iteration, double learning_rate);
  [[nodiscard]] objective::TokenLogprobs logprobs(const Batch& batch, const rollout::Rollouts& rollouts,
                                                  const MicroBatch& micro,
                                                  const objective::LogprobOptions& options) const;

  model::Model& model_;
  adapt::Adapter& adapter_;
  const rewards::RewardSet& rewards_;
  const PromptSource& prompts_;
  config::RunConfig config_;
  adapt::AdamW optimizer_;
  RunState state_;
};

}  // namespace graft::train
