// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "config/run_config.h"

namespace graft::train {

// Optimizer steps of `epochs` passes over `samples` samples when each round draws samples_per_round of them for
// steps_per_round steps (supervised fine-tuning: a batch and its step; GRPO: a rollout and its iterations and mini-batches).
// Rounded up to whole rounds: the last one may reach into the next epoch, so that every sample of the last one is seen, where
// TRL leaves the incomplete batch of an epoch out. At least one round.
[[nodiscard]] std::int64_t steps_of_epochs(double epochs, std::int64_t samples,
                                           std::int64_t samples_per_round, std::int64_t steps_per_round);

// Settles what depends on the number of training samples: train.steps from train.epochs, optimizer.warmup_steps from
// warmup_ratio (rounded up, as transformers does); afterwards epochs and warmup_ratio are null, in `resolved` too. `command` is
// kTrain or kSft. UserError if the warm-up is longer than the run.
[[nodiscard]] config::LoadedConfig with_run_length(const config::LoadedConfig& loaded, std::int64_t samples,
                                                   config::Command command);

// Whether a multiple of `every` lies in (before, now]; 0: never.
[[nodiscard]] constexpr bool is_due(std::int64_t every, std::int64_t before, std::int64_t now) {
  return every > 0 && now / every > before / every;
}

}  // namespace graft::train
