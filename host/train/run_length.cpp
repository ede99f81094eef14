// SPDX-License-Identifier: Apache-2.0
#include "train/run_length.h"

#include <algorithm>
#include <cmath>

#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::train {

using support::cat;

namespace {

// Rounded up, unless what is above the integer is only rounding error (0.1 · 30).
std::int64_t round_up(double value) {
  return static_cast<std::int64_t>(std::ceil(value * (1.0 - 1e-12)));
}

}  // namespace

std::int64_t steps_of_epochs(double epochs, std::int64_t samples, std::int64_t samples_per_round,
                             std::int64_t steps_per_round) {
  const double drawn = epochs * static_cast<double>(samples);
  // Beyond this no run ends, and no product below overflows.
  constexpr double kMostSamples = 1e12;
  if (!(drawn <= kMostSamples)) {
    throw support::UserError(cat("train.epochs is ", epochs, ", which for ", samples,
                                 " samples is no run that would end; lower it"));
  }
  const std::int64_t whole = std::max<std::int64_t>(1, round_up(drawn));
  return (whole + samples_per_round - 1) / samples_per_round * steps_per_round;
}

config::LoadedConfig with_run_length(const config::LoadedConfig& loaded, std::int64_t samples,
                                     config::Command command) {
  config::LoadedConfig out = loaded;
  config::TrainConfig& train = out.config.train;
  config::OptimizerConfig& optimizer = out.config.optimizer;
  if (train.epochs) {
    const bool is_grpo = command == config::kTrain;
    train.steps =
        steps_of_epochs(*train.epochs, samples, is_grpo ? train.prompts_per_rollout() : train.batch_size,
                        is_grpo ? train.num_mini_batches * out.config.objective.num_iterations : 1);
    support::log_info(cat(*train.epochs, " epochs of ", samples, " samples: ", train.steps, " steps"));
    train.epochs.reset();
  }
  if (optimizer.warmup_ratio) {
    optimizer.warmup_steps = round_up(*optimizer.warmup_ratio * static_cast<double>(train.steps));
    optimizer.warmup_ratio.reset();
  }
  if (optimizer.warmup_steps > train.steps) {
    throw support::UserError(cat("optimizer.warmup_steps is ", optimizer.warmup_steps,
                                 ", more than the steps of the run (", train.steps,
                                 "); the learning rate would never reach its peak"));
  }
  out.resolved["train"]["steps"] = train.steps;
  out.resolved["train"]["epochs"] = nullptr;
  out.resolved["optimizer"]["warmup_steps"] = optimizer.warmup_steps;
  out.resolved["optimizer"]["warmup_ratio"] = nullptr;
  return out;
}

}  // namespace graft::train
