// SPDX-License-Identifier: Apache-2.0
#include "train/update.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "support/error.h"
#include "support/random.h"
#include "support/strings.h"

namespace graft::train {

using support::cat;

rollout::SamplingOptions sampling_options(const model::Model& model, const config::RunConfig& config) {
  rollout::SamplingOptions options;
  options.num_generations = config.rollout.num_generations;
  options.max_completion_length = config.rollout.max_completion_length;
  options.temperature = config.rollout.temperature;
  options.top_k = config.rollout.top_k;
  options.top_p = config.rollout.top_p;
  options.ban_image_tokens = config.rollout.ban_image_tokens;
  options.stop_ids = model.stop_ids();
  options.seed = static_cast<std::uint64_t>(config.seed);
  return options;
}

adapt::AdamW make_optimizer(const adapt::Adapter& adapter, const config::OptimizerConfig& config) {
  std::vector<adapt::AdapterTensor> trained;
  for (const adapt::AdapterTensor& tensor : adapter.tensors()) {
    if (tensor.is_trained) trained.push_back(tensor);
  }
  return {std::move(trained),
          {config.learning_rate, config.beta1, config.beta2, config.eps, config.weight_decay}};
}

void seed_dropout(const RunState& state, std::size_t micro_batch) {
  support::KeyedRandom random(
      state.seed, {support::hash_string("dropout"), static_cast<std::uint64_t>(state.step), micro_batch});
  auto generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(random.next());
}

void require_finite(const RunState& state, const char* name, double value) {
  if (std::isfinite(value)) return;
  throw support::DivergedError(
      cat("step ", state.step + 1, ": ", name, " is ", value,
          "; lower optimizer.learning_rate (or raise objective.beta), and continue from the last "
          "checkpoint with train.resume=auto"));
}

double apply_gradients(const adapt::Adapter& adapter, adapt::AdamW& optimizer, GradientGuard& guard,
                       const RunState& state, const config::OptimizerConfig& config, double learning_rate,
                       std::int64_t total_steps) {
  const at::Tensor regularization = adapter.regularization(state.step, total_steps);
  if (regularization.defined() && regularization.requires_grad()) regularization.backward();
  guard.check();
  const double grad_norm = optimizer.clip_grad_norm(config.max_grad_norm);
  require_finite(state, "grad_norm", grad_norm);
  adapter.before_update(state.step, total_steps);
  optimizer.step(learning_rate);
  adapter.after_update(state.step, total_steps);
  optimizer.zero_grad();
  return grad_norm;
}

}  // namespace graft::train
