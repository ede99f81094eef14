// SPDX-License-Identifier: Apache-2.0
#include "train/policy_update.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <utility>

#include "objective/entropy_mask.h"
#include "train/update.h"

namespace graft::train {

namespace {

// The rollout's own record of the log-probabilities, flat over a micro-batch.
at::Tensor sampled_logprobs(const Experience& experience, const MicroBatch& micro, const at::Device& device) {
  std::vector<float> flat;
  const std::size_t begin = micro.first * experience.num_generations;
  for (std::size_t i = begin; i < begin + micro.count * experience.num_generations; ++i) {
    const std::vector<float>& own = experience.rollouts.completions[i].logprobs;
    flat.insert(flat.end(), own.begin(), own.end());
  }
  return at::tensor(flat, at::kFloat).to(device);
}

bool has_images(const Experience& experience, const MicroBatch& micro) {
  const auto first = experience.items.begin() + static_cast<std::ptrdiff_t>(micro.first);
  return std::any_of(first, first + static_cast<std::ptrdiff_t>(micro.count),
                     [](const PromptItem& item) { return !item.prompt.images.empty(); });
}

// Sum over the tokens of completions that are not masked.
double included_sum(const Experience& experience, const MicroBatch& micro,
                    const objective::TokenLogprobs& scored, const at::Tensor& values) {
  const std::size_t begin = micro.first * experience.num_generations;
  std::vector<double> mask;
  for (std::size_t i = 0; i < scored.lengths.size(); ++i) {
    mask.insert(mask.end(), static_cast<std::size_t>(scored.lengths[i]),
                experience.included[begin + i] ? 1.0 : 0.0);
  }
  return (values.to(at::kDouble) * at::tensor(mask, at::kDouble).to(values.device())).sum().item<double>();
}

void add(objective::ClipCounts& total, const objective::ClipCounts& part) {
  total.low += part.low;
  total.high += part.high;
  total.units += part.units;
  total.low_shares.insert(total.low_shares.end(), part.low_shares.begin(), part.low_shares.end());
  total.high_shares.insert(total.high_shares.end(), part.high_shares.begin(), part.high_shares.end());
}

template <typename T>
std::vector<T> slice(const std::vector<T>& values, std::size_t begin, std::size_t count) {
  const auto from = values.begin() + static_cast<std::ptrdiff_t>(begin);
  return {from, from + static_cast<std::ptrdiff_t>(count)};
}

objective::LossOptions make_loss_options(const config::RunConfig& config) {
  objective::LossOptions options;
  options.loss_type = config.objective.loss_type;
  options.sequence_ratio = config.objective.sequence_ratio();
  options.beta = config.objective.beta;
  options.use_bias_correction_kl = config.objective.corrects_kl();
  options.epsilon = config.objective.clip_low();
  options.epsilon_high = config.objective.clip_high();
  options.delta = config.objective.delta;
  options.max_completion_length = config.rollout.max_completion_length;
  return options;
}

}  // namespace

PolicyUpdate::PolicyUpdate(model::Model& model, adapt::Adapter& adapter, const config::RunConfig& config)
    : model_(model), adapter_(adapter), config_(config), loss_options_(make_loss_options(config)) {}

objective::TokenLogprobs PolicyUpdate::logprobs(const Experience& experience, const MicroBatch& micro,
                                                const objective::LogprobOptions& options) const {
  std::vector<const model::Prompt*> prompts;
  for (std::size_t p = micro.first; p < micro.first + micro.count; ++p)
    prompts.push_back(&experience.items[p].prompt);
  // Vision features are constants of the run unless the vision tower itself is trained: then each policy has its own.
  const std::vector<at::Tensor> features = model_.trains_vision()
                                               ? encode_prompt_images(model_, prompts, options.pass)
                                               : slice(experience.image_values, micro.first, micro.count);
  std::vector<objective::ScoredGroup> groups;
  for (std::size_t p = 0; p < micro.count; ++p) {
    objective::ScoredGroup group;
    group.prompt = prompts[p];
    group.image_values = features[p];
    for (std::size_t g = 0; g < experience.num_generations; ++g) {
      group.completions.emplace_back(
          experience.scored_ids[(micro.first + p) * experience.num_generations + g]);
    }
    groups.push_back(std::move(group));
  }
  objective::LogprobOptions scored = options;
  scored.temperature = config_.rollout.temperature > 0 ? config_.rollout.temperature : 1.0;
  scored.ban_image_tokens = config_.rollout.ban_image_tokens && config_.objective.parity != "vlm_r1";
  return objective::completion_logprobs(model_, groups, scored);
}

void PolicyUpdate::score_reference(Experience& experience) {
  if (config_.objective.beta == 0) return;
  const at::NoGradGuard no_grad;
  // A fresh adapter starts as the base model, so switching it off needs no copy of anything.
  const bool use_base = adapter_.base_is_reference() || config_.objective.reference == "base";
  objective::LogprobOptions options;
  options.pass.allow_recompute = false;
  options.pass.adapters_enabled = !use_base;
  const auto score_all = [&] {
    for (MiniBatch& mini : experience.mini_batches) {
      for (MicroBatch& micro : mini.micro_batches) {
        micro.ref_logprobs = logprobs(experience, micro, options).logprobs;
      }
    }
  };
  if (use_base) {
    score_all();
  } else {
    adapter_.with_reference(score_all);
  }
}

bool needs_old_first(const std::string& old_logprobs, std::size_t mini_batches) {
  return old_logprobs == "recompute" || old_logprobs == "rollout" ||
         (old_logprobs == "auto" && mini_batches > 1);
}

void PolicyUpdate::score_old(Experience& experience) const {
  const std::string& source = config_.objective.old_logprobs;
  if (!needs_old_first(source, experience.mini_batches.size())) return;
  const at::NoGradGuard no_grad;
  objective::LogprobOptions options;
  options.pass.allow_recompute = false;
  for (MiniBatch& mini : experience.mini_batches) {
    for (MicroBatch& micro : mini.micro_batches) {
      micro.old_logprobs = source == "rollout" ? sampled_logprobs(experience, micro, at::kCPU)
                                               : logprobs(experience, micro, options).logprobs;
    }
  }
}

std::vector<at::Tensor> PolicyUpdate::policy_masks(const Experience& experience,
                                                   const MiniBatch& mini) const {
  if (config_.objective.top_entropy_quantile >= 1.0) return {};
  // TRL takes the quantile over each micro-batch; here it is that of the optimizer step, so that micro-batches do not change
  // the result, at the price of a pass without gradients.
  const at::NoGradGuard no_grad;
  objective::LogprobOptions options;
  options.with_entropy = true;
  options.pass.allow_recompute = false;
  std::vector<at::Tensor> entropies, counted;
  for (const MicroBatch& micro : mini.micro_batches) {
    const objective::TokenLogprobs scored = logprobs(experience, micro, options);
    entropies.push_back(scored.entropy);
    std::int64_t row = 0;
    for (std::size_t i = 0; i < scored.lengths.size(); ++i) {
      const std::int64_t length = scored.lengths[i];
      if (experience.included[micro.first * experience.num_generations + i]) {
        counted.push_back(scored.entropy.narrow(0, row, length));
      }
      row += length;
    }
  }
  const double threshold = objective::entropy_threshold(counted, config_.objective.top_entropy_quantile);
  for (at::Tensor& entropy : entropies) entropy = entropy.ge(threshold);
  return entropies;
}

objective::LossInput PolicyUpdate::loss_input(const Experience& experience, const MiniBatch& mini,
                                              const MicroBatch& micro,
                                              const objective::TokenLogprobs& current) const {
  const std::size_t first = micro.first * experience.num_generations;
  const std::size_t count = micro.count * experience.num_generations;
  objective::LossInput input;
  input.logprobs = current.logprobs;
  input.old_logprobs = micro.old_logprobs;
  input.ref_logprobs = micro.ref_logprobs;
  input.advantages = slice(experience.advantages.advantages, first, count);
  input.lengths = current.lengths;
  input.included = slice(experience.included, first, count);
  input.step_completions = mini.completions;
  input.step_tokens = mini.tokens;
  input.mean_step_tokens = experience.mean_step_tokens;
  return input;
}

UpdateResult PolicyUpdate::accumulate(Experience& experience, MiniBatch& mini, std::int64_t iteration,
                                      const RunState& state, GradientGuard& guard) const {
  const bool keeps_old = iteration == 0 && config_.objective.num_iterations > 1;
  const std::vector<at::Tensor> masks = policy_masks(experience, mini);
  UpdateResult result;
  for (std::size_t m = 0; m < mini.micro_batches.size(); ++m) {
    MicroBatch& micro = mini.micro_batches[m];
    seed_dropout(state, m);
    objective::LogprobOptions options;
    options.with_entropy = true;
    options.pass.is_training = true;
    const objective::TokenLogprobs current =
        guard.watch(has_images(experience, micro), [&] { return logprobs(experience, micro, options); });
    if (keeps_old && !micro.old_logprobs.defined()) micro.old_logprobs = current.logprobs.detach();

    objective::LossInput input = loss_input(experience, mini, micro, current);
    if (!masks.empty()) input.policy_mask = masks[m];
    const objective::LossParts parts = objective::policy_loss(input, loss_options_);
    const double loss = parts.loss.item<double>();
    require_finite(state, "loss", loss);
    guard.backward(parts.loss);

    result.loss += loss;
    result.kl_sum += parts.kl_sum;
    result.tokens += parts.tokens;
    result.entropy_sum += included_sum(experience, micro, current, current.entropy);
    add(result.clipped, parts.clipped);
    result.logprobs.push_back(current.logprobs.detach());
    result.entropies.push_back(current.entropy);
  }
  return result;
}

}  // namespace graft::train
