// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "config/run_config.h"
#include "model/model.h"
#include "objective/advantages.h"
#include "rewards/rewards.h"
#include "rollout/rollout.h"
#include "train/prompt_source.h"

namespace graft::train {

// Whole prompts, with all their completions, in one forward and backward pass. Tensors are flat over its scored tokens and
// stay over the iterations of a rollout.
struct MicroBatch {
  std::size_t first = 0, count = 0;  // prompts of the rollout
  at::Tensor old_logprobs, ref_logprobs;
};

// The micro-batches of one optimizer step.
struct MiniBatch {
  std::size_t first = 0, count = 0;  // prompts
  std::vector<MicroBatch> micro_batches;
  std::int64_t completions = 0;
  std::int64_t tokens = 0;  // that enter the loss
};

// A rollout and what the update learns from.
struct Experience {
  std::vector<PromptItem> items;
  std::vector<at::Tensor> image_values;  // vision features of each prompt
  rollout::Rollouts rollouts;
  rewards::Scores scores;
  objective::Advantages advantages;
  std::size_t num_generations = 1;

  // One a completion:
  std::vector<std::vector<std::int64_t>> scored_ids;  // what the loss is taken over
  std::vector<bool> included;                         // false: masked

  std::vector<MiniBatch> mini_batches;
  double mean_step_tokens = 0.0;  // mean of MiniBatch::tokens
};

// Fills in scored_ids, included and mini_batches from the rollout and its scores. With objective.parity=vlm_r1 a completion that
// lacks the tokenizer's eos token `eos_id` is padded with `pad_id` to the longest of its micro-batch, and the padding is scored,
// since VLM-R1's mask knows no other end (VLMGRPOTrainer).
void split_experience(Experience& experience, const config::RunConfig& config, std::int64_t eos_id,
                      std::int64_t pad_id);

}  // namespace graft::train
