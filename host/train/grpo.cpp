// SPDX-License-Identifier: Apache-2.0
#include "train/grpo.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>

#include "support/error.h"
#include "support/interrupt.h"
#include "support/strings.h"
#include "train/grpo_metrics.h"
#include "train/schedule.h"
#include "train/update.h"

namespace graft::train {

using support::cat;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

GrpoTrainer::GrpoTrainer(model::Model& model, adapt::Adapter& adapter, const rewards::RewardSet& rewards,
                         const PromptSource& prompts, const config::RunConfig& config)
    : model_(model),
      adapter_(adapter),
      rewards_(rewards),
      prompts_(prompts),
      config_(config),
      optimizer_(make_optimizer(adapter, config.optimizer)) {
  state_.seed = static_cast<std::uint64_t>(config.seed);
  if (config_.objective.beta > 0 && !adapter_.base_is_reference()) adapter_.keep_reference();
}

// The algorithm, one screen. Departures from the paper: the loss's normaliser is chosen by objective.loss_type; the KL
// penalty is left out when beta is 0; with one iteration the ratio is 1 by construction, so the old log-probabilities
// are the new ones and no pass is spent on them (as in TRL).
StepReport GrpoTrainer::step() {
  const auto start = std::chrono::steady_clock::now();
  const RunState before = state_;
  try {
    const Batch batch = draw_batch();
    const rollout::Rollouts rollouts = sample(batch);
    const double rollout_seconds = seconds_since(start);

    const rewards::Scores scores = score(batch, rollouts);
    const objective::Advantages advantages = objective::compute_advantages(
        scores.values,
        {config_.rollout.num_generations, config_.objective.scale_rewards, rewards_.weights()});
    const double reward_seconds = seconds_since(start) - rollout_seconds;

    std::vector<MicroBatch> micro = micro_batches(batch);
    if (config_.objective.beta > 0) reference_logprobs(batch, rollouts, micro);
    UpdateSums sums;
    const double learning_rate =
        learning_rate_at(config_.optimizer.schedule, config_.optimizer.learning_rate, state_.step,
                         config_.optimizer.warmup_steps, config_.train.steps);
    for (std::int64_t iteration = 0; iteration < config_.objective.num_iterations; ++iteration) {
      sums = improve(batch, rollouts, advantages, micro, iteration, learning_rate);
    }

    ++state_.step;
    state_.num_tokens +=
        rollouts.prompt_tokens * config_.rollout.num_generations + rollouts.completion_tokens;
    StepReport report;
    report.metrics = step_metrics(state_, rollouts, scores, rewards_, advantages);
    add_update_metrics(report.metrics,
                       {sums.loss, sums.grad_norm, learning_rate, sums.kl, sums.entropy, sums.clip_low,
                        sums.clip_high, sums.tokens, config_.objective.beta > 0});
    report.metrics["epoch"] =
        static_cast<double>(state_.samples_drawn) / static_cast<double>(prompts_.size());
    const double total = seconds_since(start);
    report.metrics["step_time"] = total;
    report.metrics["time/rollout"] = rollout_seconds;
    report.metrics["time/reward"] = reward_seconds;
    report.metrics["time/update"] = total - rollout_seconds - reward_seconds;
    report.metrics["speed/tokens_per_second"] = static_cast<double>(rollouts.completion_tokens) / total;
    report.completions = completion_table(state_, batch.items, rollouts, scores, rewards_, advantages);
    return report;
  } catch (const support::Interrupted&) {
    state_ = before;  // thrown during the rollout only, before anything was learned
    throw;
  }
}

GrpoTrainer::Batch GrpoTrainer::draw_batch() {
  Batch batch;
  batch.items = prompts_.draw(static_cast<std::size_t>(config_.train.prompts_per_step), &state_.samples_drawn,
                              &state_.samples_skipped);
  std::vector<const model::Prompt*> prompts;
  for (const PromptItem& item : batch.items) prompts.push_back(&item.prompt);
  at::NoGradGuard no_grad;
  batch.image_values = encode_prompt_images(model_, prompts);
  return batch;
}

rollout::Rollouts GrpoTrainer::sample(const Batch& batch) const {
  std::vector<const model::Prompt*> prompts;
  std::vector<std::uint64_t> keys;
  for (const PromptItem& item : batch.items) {
    prompts.push_back(&item.prompt);
    keys.push_back(item.index);
  }
  rollout::SamplingOptions options = sampling_options(model_, config_);
  options.step = static_cast<std::uint64_t>(state_.step);
  return rollout::generate(model_, prompts, batch.image_values, keys, options,
                           [] { return support::interrupt_requested(); });
}

rewards::Scores GrpoTrainer::score(const Batch& batch, const rollout::Rollouts& rollouts) const {
  std::vector<rewards::Item> items;
  items.reserve(rollouts.completions.size());
  for (const rollout::Completion& completion : rollouts.completions) {
    items.push_back(reward_item(batch.items[completion.prompt], completion, completion.prompt));
  }
  return rewards_.score(items, static_cast<std::uint64_t>(state_.step));
}

std::vector<GrpoTrainer::MicroBatch> GrpoTrainer::micro_batches(const Batch& batch) const {
  const auto size = static_cast<std::size_t>(config_.train.prompts_per_micro_batch());
  std::vector<MicroBatch> micro;
  for (std::size_t first = 0; first < batch.items.size(); first += size) {
    micro.push_back({first, std::min(size, batch.items.size() - first), {}, {}});
  }
  return micro;
}

objective::TokenLogprobs GrpoTrainer::logprobs(const Batch& batch, const rollout::Rollouts& rollouts,
                                               const MicroBatch& micro,
                                               const objective::LogprobOptions& options) const {
  const auto generations = static_cast<std::size_t>(config_.rollout.num_generations);
  // Vision features are constants of the step unless the vision tower itself is trained.
  std::vector<const model::Prompt*> prompts;
  for (std::size_t p = micro.first; p < micro.first + micro.count; ++p)
    prompts.push_back(&batch.items[p].prompt);
  std::vector<at::Tensor> features(
      batch.image_values.begin() + static_cast<std::ptrdiff_t>(micro.first),
      batch.image_values.begin() + static_cast<std::ptrdiff_t>(micro.first + micro.count));
  if (at::GradMode::is_enabled() && model_.trains_vision()) features = encode_prompt_images(model_, prompts);
  std::vector<objective::ScoredGroup> groups;
  for (std::size_t p = micro.first; p < micro.first + micro.count; ++p) {
    objective::ScoredGroup group;
    group.prompt = &batch.items[p].prompt;
    group.image_values = features[p - micro.first];
    for (std::size_t g = 0; g < generations; ++g) {
      group.completions.emplace_back(rollouts.completions[p * generations + g].ids);
    }
    groups.push_back(std::move(group));
  }
  objective::LogprobOptions with_rollout = options;
  with_rollout.temperature = config_.rollout.temperature > 0 ? config_.rollout.temperature : 1.0;
  with_rollout.ban_image_tokens = config_.rollout.ban_image_tokens;
  return objective::completion_logprobs(model_, groups, with_rollout);
}

void GrpoTrainer::reference_logprobs(const Batch& batch, const rollout::Rollouts& rollouts,
                                     std::vector<MicroBatch>& micro) {
  at::NoGradGuard no_grad;
  objective::LogprobOptions options;
  options.pass.allow_recompute = false;
  options.pass.adapters_enabled = !adapter_.base_is_reference();
  const auto score_all = [&] {
    for (MicroBatch& part : micro) part.ref_logprobs = logprobs(batch, rollouts, part, options).logprobs;
  };
  if (adapter_.base_is_reference()) {
    score_all();
  } else {
    adapter_.with_reference(score_all);
  }
}

GrpoTrainer::UpdateSums GrpoTrainer::improve(const Batch& batch, const rollout::Rollouts& rollouts,
                                             const objective::Advantages& advantages,
                                             std::vector<MicroBatch>& micro, std::int64_t iteration,
                                             double learning_rate) {
  const auto generations = static_cast<std::size_t>(config_.rollout.num_generations);
  const std::vector<bool> included =
      included_completions(rollouts, config_.objective.mask_truncated_completions);
  std::int64_t step_tokens = 0;
  for (std::size_t i = 0; i < included.size(); ++i) {
    if (included[i]) step_tokens += static_cast<std::int64_t>(rollouts.completions[i].ids.size());
  }
  objective::LossOptions loss_options;
  loss_options.loss_type = config_.objective.loss_type;
  loss_options.beta = config_.objective.beta;
  loss_options.epsilon = config_.objective.epsilon;
  loss_options.epsilon_high = config_.objective.clip_high();
  loss_options.max_completion_length = config_.rollout.max_completion_length;

  UpdateSums sums;
  for (std::size_t m = 0; m < micro.size(); ++m) {
    MicroBatch& part = micro[m];
    seed_dropout(state_, iteration, m);
    objective::LogprobOptions options;
    options.with_entropy = true;
    options.pass.is_training = true;
    const objective::TokenLogprobs current = logprobs(batch, rollouts, part, options);
    if (iteration == 0 && config_.objective.num_iterations > 1) part.old_logprobs = current.logprobs.detach();

    const auto from = static_cast<std::ptrdiff_t>(part.first * generations);
    const auto to = from + static_cast<std::ptrdiff_t>(part.count * generations);
    objective::LossInput input;
    input.logprobs = current.logprobs;
    input.old_logprobs = part.old_logprobs;
    input.ref_logprobs = part.ref_logprobs;
    input.advantages.assign(advantages.advantages.begin() + from, advantages.advantages.begin() + to);
    input.lengths = current.lengths;
    input.included.assign(included.begin() + from, included.begin() + to);
    input.step_completions = static_cast<std::int64_t>(rollouts.completions.size());
    input.step_tokens = step_tokens;
    const objective::LossParts parts = objective::grpo_loss(input, loss_options);

    const double loss = parts.loss.item<double>();
    require_finite(state_, "loss", loss);
    parts.loss.backward();
    sums.loss += loss;
    sums.kl += parts.kl_sum;
    sums.clip_low += parts.clip_low_sum;
    sums.clip_high += parts.clip_high_sum;
    sums.entropy += current.entropy.sum().item<double>();
    sums.tokens += parts.tokens;
  }
  sums.grad_norm = apply_gradients(optimizer_, state_, config_.optimizer, learning_rate);
  return sums;
}

}  // namespace graft::train
