// SPDX-License-Identifier: Apache-2.0
#include "train/grpo.h"

#include <ATen/core/grad_mode.h>

#include <chrono>
#include <map>
#include <utility>

#include "support/error.h"
#include "support/interrupt.h"
#include "train/grpo_metrics.h"
#include "train/phases.h"
#include "train/schedule.h"
#include "train/update.h"

namespace graft::train {

GrpoTrainer::GrpoTrainer(model::Model& model, adapt::Adapter& adapter, const rewards::RewardSet& rewards,
                         const PromptSource& prompts, const config::RunConfig& config, GrpoHooks hooks)
    : model_(model),
      adapter_(adapter),
      rewards_(rewards),
      prompts_(prompts),
      config_(config),
      hooks_(std::move(hooks)),
      update_(model, adapter, config_),
      guard_(model, adapter, prompts.has_images()),
      optimizer_(make_optimizer(adapter, config.optimizer)) {
  state_.seed = static_cast<std::uint64_t>(config.seed);
  const bool uses_initial = config.objective.beta > 0 && config.objective.reference != "base";
  if (uses_initial && !adapter_.base_is_reference()) adapter_.keep_reference();
}

// Algorithm 1 of the paper. Departures: the KL penalty and its pass are left out when beta is 0; where the only optimizer step
// of a rollout is on-policy, the ratio is 1 and no pass is spent on old log-probabilities (both as in TRL); the reference stays
// the initial policy over the whole run (the paper renews it in an outer loop); a rollout may be cut into mini-batches of
// whole groups, each with its own optimizer step (TRL cuts through groups).
StepReport GrpoTrainer::step() {
  const RunState before = state_;
  try {
    Phases phases;
    Experience experience;
    phases.run("rollout", [&] {
      draw_prompts(experience);  // q ~ P(Q)
      sample(experience);        // o_1, …, o_G ~ π_old(· | q)
    });
    phases.run("reward", [&] { score(experience); });                       // r_1, …, r_G
    compare(experience);                                                    // Â_i = (r_i - mean(r)) / std(r)
    phases.run("reference", [&] { update_.score_reference(experience); });  // π_ref

    StepReport report;
    phases.run("update", [&] {
      update_.score_old(experience);  // π_old
      for (std::int64_t iteration = 0; iteration < config_.objective.num_iterations; ++iteration) {
        for (MiniBatch& mini : experience.mini_batches) {  // maximise J(θ)
          if (state_.step < config_.train.steps) report.rows.push_back(improve(experience, mini, iteration));
        }
      }
    });
    add_rollout(report, experience, phases);
    return report;
  } catch (const support::Interrupted&) {
    state_ = before;  // thrown during the rollout only, before anything was learned
    throw;
  }
}

void GrpoTrainer::draw_prompts(Experience& experience) {
  experience.items = prompts_.draw(static_cast<std::size_t>(config_.train.prompts_per_rollout()),
                                   &state_.samples_drawn, &state_.samples_skipped);
  std::vector<const model::Prompt*> prompts;
  for (const PromptItem& item : experience.items) prompts.push_back(&item.prompt);
  at::NoGradGuard no_grad;
  experience.image_values = encode_prompt_images(model_, prompts, {});
}

void GrpoTrainer::sample(Experience& experience) {
  if (hooks_.sample) {
    experience.rollouts = hooks_.sample(experience.items, state_.step);
  } else {
    std::vector<const model::Prompt*> prompts;
    std::vector<std::uint64_t> keys;
    std::map<std::uint64_t, std::uint64_t>
        seen;  // a small data set may give a prompt twice: other draws each time
    for (const PromptItem& item : experience.items) {
      prompts.push_back(&item.prompt);
      keys.push_back(item.index + (seen[item.index]++ << 40U));
    }
    rollout::SamplingOptions options = sampling_options(model_, config_);
    options.step = static_cast<std::uint64_t>(state_.step);
    experience.rollouts = rollout::generate(model_, prompts, experience.image_values, keys, options,
                                            [] { return support::interrupt_requested(); });
  }
  state_.num_tokens += experience.rollouts.prompt_tokens * config_.rollout.num_generations +
                       experience.rollouts.completion_tokens;
}

void GrpoTrainer::score(Experience& experience) const {
  std::vector<rewards::Item> items;
  items.reserve(experience.rollouts.completions.size());
  for (const rollout::Completion& completion : experience.rollouts.completions) {
    items.push_back(reward_item(experience.items[completion.prompt], completion, completion.prompt));
  }
  experience.scores = rewards_.score(items, static_cast<std::uint64_t>(state_.step));
}

void GrpoTrainer::compare(Experience& experience) const {
  experience.advantages = objective::compute_advantages(
      experience.scores.values, {config_.rollout.num_generations, config_.objective.scale_rewards,
                                 rewards_.weights(), config_.objective.multi_objective_aggregation});
  split_experience(experience, config_, model_.eos_id(), model_.pad_id());
}

nlohmann::ordered_json GrpoTrainer::improve(Experience& experience, MiniBatch& mini, std::int64_t iteration) {
  const auto start = std::chrono::steady_clock::now();
  const double learning_rate =
      learning_rate_at(config_.optimizer.schedule, config_.optimizer.learning_rate, state_.step,
                       config_.optimizer.warmup_steps, config_.train.steps);
  const UpdateResult result = update_.accumulate(experience, mini, iteration, state_, guard_);
  if (hooks_.before_optimizer_step) hooks_.before_optimizer_step(experience, mini, result);
  const double grad_norm = apply_gradients(adapter_, optimizer_, guard_, state_, config_.optimizer,
                                           learning_rate, config_.train.steps);
  ++state_.step;

  nlohmann::ordered_json row{{"step", state_.step}};
  row.update(update_metrics(result, config_.objective));
  row["grad_norm"] = grad_norm;
  row["learning_rate"] = learning_rate;
  row["epoch"] = static_cast<double>(state_.samples_drawn) / static_cast<double>(prompts_.size());
  row["samples_skipped"] = state_.samples_skipped;
  row["step_time"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return row;
}

void GrpoTrainer::add_rollout(StepReport& report, const Experience& experience, const Phases& phases) const {
  if (report.rows.empty()) return;
  double updates = 0.0;
  for (const auto& row : report.rows) updates += row["step_time"].get<double>();
  const double total = phases.total();
  nlohmann::ordered_json& first = report.rows.front();
  first.update(rollout_metrics(experience, rewards_, state_));
  first["step_time"] = total - updates + first["step_time"].get<double>();
  phases.add_to(first);
  const auto speed = [&](const char* name, double tokens, double seconds) {
    if (seconds > 0.0) first[name] = tokens / seconds;
  };
  const auto sampled = static_cast<double>(experience.rollouts.completion_tokens);
  // The update passes each prompt once a group, in every iteration.
  const double updated = (static_cast<double>(experience.rollouts.prompt_tokens) + sampled) *
                         static_cast<double>(report.rows.size()) /
                         static_cast<double>(experience.mini_batches.size());
  speed("speed/rollout_tokens_per_second", sampled, phases.seconds("rollout"));
  speed("speed/update_tokens_per_second", updated, phases.seconds("update"));
  speed("speed/tokens_per_second", sampled, total);
  report.completions = completion_table(experience, rewards_, first["step"].get<std::int64_t>());
}

}  // namespace graft::train
