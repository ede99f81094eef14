// SPDX-License-Identifier: Apache-2.0
// What training, evaluation and generation share around a step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "config/run_config.h"
#include "model/model.h"
#include "rollout/rollout.h"
#include "train/checkpoint.h"
#include "train/gradient_guard.h"

namespace graft::train {

// How completions are sampled under a configuration; stops at the model's stop ids.
[[nodiscard]] rollout::SamplingOptions sampling_options(const model::Model& model,
                                                        const config::RunConfig& config);

[[nodiscard]] adapt::AdamW make_optimizer(const adapt::Adapter& adapter,
                                          const config::OptimizerConfig& config);

// Keys the generator that dropout draws from by optimizer step and micro-batch, so that a resumed run draws the same.
void seed_dropout(const RunState& state, std::size_t micro_batch);

// DivergedError if `value` ("loss", "grad_norm") of the step is not finite.
void require_finite(const RunState& state, const char* name, double value);

// The gradient of the strategy's own loss term if it has one, guard, clip and step, with the strategy's work around the step.
// Returns the gradient's norm before clipping; the gradients are gone afterwards. `total_steps`: of the run.
double apply_gradients(const adapt::Adapter& adapter, adapt::AdamW& optimizer, GradientGuard& guard,
                       const RunState& state, const config::OptimizerConfig& config, double learning_rate,
                       std::int64_t total_steps);

}  // namespace graft::train
