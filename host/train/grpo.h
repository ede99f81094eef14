// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "config/run_config.h"
#include "model/model.h"
#include "rewards/rewards.h"
#include "rollout/rollout.h"
#include "train/checkpoint.h"
#include "train/experience.h"
#include "train/gradient_guard.h"
#include "train/phases.h"
#include "train/policy_update.h"
#include "train/prompt_source.h"

namespace graft::train {

// What a step leaves behind for people and files.
struct StepReport {
  // TRL's names, one row an optimizer step; the metrics of the rollout stand in the first alone, as in TRL.
  std::vector<nlohmann::ordered_json> rows;
  nlohmann::ordered_json completions;  // list of {prompt, completion, solution, rewards, advantage}
};

// For embedding the loop, and for tests.
struct GrpoHooks {
  // Gives the completions instead of rollout::generate: num_generations a prompt, in order. old_logprobs=rollout needs their
  // logprobs. `step`: optimizer steps so far.
  std::function<rollout::Rollouts(std::span<const PromptItem> prompts, std::int64_t step)> sample;
  // Sees each optimizer step after backward, with the gradients in place and not yet clipped.
  std::function<void(const Experience&, const MiniBatch&, const UpdateResult&)> before_optimizer_step;
};

// Group Relative Policy Optimization (Shao et al. 2024, arXiv:2402.03300, algorithm 1) and its descendants
// (objective/loss.h) with a PEFT adapter as the policy. Control thread only. The objects given must outlive the trainer.
class GrpoTrainer {
 public:
  GrpoTrainer(model::Model& model, adapt::Adapter& adapter, const rewards::RewardSet& rewards,
              const PromptSource& prompts, const config::RunConfig& config, GrpoHooks hooks = {});

  // One step of the algorithm: sample, score, compare within groups, improve num_iterations times. Advances state().step by
  // the optimizer steps taken, num_iterations · num_mini_batches unless train.steps comes first. On support::Interrupted
  // nothing has changed. Throws DivergedError if loss or gradients stop being finite, and on the first step what GradientGuard
  // throws.
  [[nodiscard]] StepReport step();

  [[nodiscard]] RunState& state() { return state_; }
  [[nodiscard]] adapt::AdamW& optimizer() { return optimizer_; }

 private:
  void draw_prompts(Experience& experience);
  void sample(Experience& experience);
  void score(Experience& experience) const;
  void compare(Experience& experience) const;
  // One optimizer step on one mini-batch; its row of metrics.
  [[nodiscard]] nlohmann::ordered_json improve(Experience& experience, MiniBatch& mini,
                                               std::int64_t iteration);
  // The rollout's metrics, times and speeds into the first row, and the table of completions.
  void add_rollout(StepReport& report, const Experience& experience, const Phases& phases) const;

  model::Model& model_;
  adapt::Adapter& adapter_;
  const rewards::RewardSet& rewards_;
  const PromptSource& prompts_;
  config::RunConfig config_;
  GrpoHooks hooks_;
  PolicyUpdate update_;
  GradientGuard guard_;
  adapt::AdamW optimizer_;
  RunState state_;
};

}  // namespace graft::train
