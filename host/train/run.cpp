// SPDX-License-Identifier: Apache-2.0
#include "train/run.h"

#include <ATen/Parallel.h>

#include <filesystem>
#include <memory>

#include "plugin/host_services.h"
#include "support/error.h"
#include "support/files.h"
#include "support/interrupt.h"
#include "support/log.h"
#include "support/progress.h"
#include "support/strings.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/grpo.h"
#include "train/metrics.h"
#include "train/session.h"
#include "train/sft.h"

namespace graft::train {

using support::cat;
namespace fs = std::filesystem;

namespace {

// An output directory that already holds a run is not written over.
void check_output_dir(const config::RunConfig& config) {
  const fs::path directory = config.output_dir;
  if (config.train.resume != "never" || !fs::exists(directory / "metrics.jsonl")) return;
  throw support::UserError(cat("output_dir ", directory,
                               " already holds a run (metrics.jsonl is there); continue it with "
                               "train.resume=auto, or choose another output_dir"));
}

// The files of a run, opened once everything else was found good.
class RunFiles {
 public:
  RunFiles(const config::LoadedConfig& loaded, std::int64_t last_step)
      : directory_(prepare(loaded)),
        metrics_(directory_ / "metrics.jsonl", last_step),
        completions_(directory_ / "completions.jsonl", last_step) {}

  [[nodiscard]] const fs::path& directory() const { return directory_; }
  [[nodiscard]] MetricsFile& metrics() { return metrics_; }
  [[nodiscard]] MetricsFile& completions() { return completions_; }

 private:
  static fs::path prepare(const config::LoadedConfig& loaded) {
    fs::path directory = loaded.config.output_dir;
    support::make_directories(directory);
    support::write_file_atomic(directory / "config.json", loaded.resolved.dump(2) + "\n");
    return directory;
  }
  fs::path directory_;
  MetricsFile metrics_, completions_;
};

// What to show of a step: {label, metric} pairs, as far as the metrics are there.
std::vector<support::ProgressField> progress_fields(const nlohmann::ordered_json& metrics) {
  std::vector<support::ProgressField> fields;
  const std::pair<const char*, const char*> shown[] = {{"reward", "reward"},
                                                       {"loss", "loss"},
                                                       {"kl", "kl"},
                                                       {"grad", "grad_norm"},
                                                       {"tok/s", "speed/tokens_per_second"}};
  for (const auto& [label, name] : shown) {
    if (!metrics.contains(name) || metrics[name].is_null()) continue;
    fields.emplace_back(label,
                        support::fixed(metrics[name].get<double>(), std::string(label) == "tok/s" ? 0 : 4));
  }
  return fields;
}

bool is_due(std::int64_t every, std::int64_t step, std::int64_t last) {
  return step == last || (every > 0 && step % every == 0);
}

// Continues from the checkpoint that train.resume names, if any.
template <typename Trainer>
void resume(const config::RunConfig& config, adapt::Adapter& adapter, Trainer& trainer) {
  const auto checkpoint = find_checkpoint(config.output_dir, config.train.resume);
  if (!checkpoint) return;
  trainer.state() =
      load_checkpoint(*checkpoint, static_cast<std::uint64_t>(config.seed), adapter, trainer.optimizer());
  support::log_info(cat("continuing from ", *checkpoint, ", step ", trainer.state().step));
}

// Runs `one_step` to the configured number of steps. `one_step` writes its own rows and returns the step's metrics.
template <typename Trainer, typename OneStep>
void run_loop(const config::RunConfig& config, const char* label, adapt::Adapter& adapter, Trainer& trainer,
              RunFiles& files, OneStep&& one_step) {
  const std::int64_t last = config.train.steps;
  const std::int64_t max_saved = config.train.max_saved.value_or(0);
  const auto save = [&] {
    save_checkpoint(files.directory(), trainer.state(), adapter, trainer.optimizer(), max_saved);
  };
  support::Progress progress(label, last, {trainer.state().step, config.train.logging_steps});
  try {
    while (trainer.state().step < last) {
      if (support::interrupt_requested()) throw support::Interrupted("a signal came");
      const nlohmann::ordered_json metrics = one_step();
      progress.update(trainer.state().step, progress_fields(metrics));
      if (is_due(config.train.save_steps, trainer.state().step, last)) save();
    }
  } catch (const support::Interrupted&) {
    progress.finish();
    save();
    throw support::Interrupted(cat("stopped by a signal after step ", trainer.state().step, " of ", last,
                                   "; saved in ", files.directory(),
                                   ", continue with the same command and --resume auto"));
  }
  progress.finish();
  // `full` gives a model directory, all other strategies an adapter.
  const bool is_model = adapter.strategy() == "full";
  const fs::path result = files.directory() / (is_model ? "model" : "adapter");
  fs::remove_all(result);
  adapter.save(result);
  support::log_info(cat(is_model ? "model" : "adapter", " saved in ", result));
}

// Evaluation during training: a row of metrics with the prefix "eval_".
class PeriodicEvaluation {
 public:
  PeriodicEvaluation(const config::RunConfig& config, const Session& session, RunFiles& files)
      : config_(config), session_(session), files_(files) {
    if (config.train.eval_steps == 0) return;
    data::Dataset dataset = load_samples(config::eval_files(config.data), config.data, config.eval.samples);
    prompts_ = std::make_unique<PromptSource>(*session.model, config.data, std::move(dataset.samples), 0);
  }
  void after_step(std::int64_t step) {
    if (!prompts_ || step % config_.train.eval_steps != 0) return;
    const Evaluation evaluation = evaluate(*session_.model, *session_.rewards, *prompts_, config_);
    nlohmann::ordered_json row{{"step", step}};
    for (const auto& [name, value] : evaluation.summary.items()) row["eval_" + name] = value;
    files_.metrics().write(row);
    support::log_info(cat("evaluation at step ", step, ": ", evaluation.summary.dump()));
  }

 private:
  const config::RunConfig& config_;
  const Session& session_;
  RunFiles& files_;
  std::unique_ptr<PromptSource> prompts_;
};

// Tokens of a typical prompt: what checkpoint policies plan with.
std::int64_t prompt_tokens(const PromptSource& prompts) {
  std::int64_t position = 0, skipped = 0;
  return static_cast<std::int64_t>(prompts.draw(1, &position, &skipped).front().prompt.ids.size());
}

void prepare_process(const config::RunConfig& config) {
  support::install_interrupt_handlers();
  plugin::set_run_seed(static_cast<std::uint64_t>(config.seed));
  if (config.train.threads > 0) at::set_num_threads(static_cast<int>(config.train.threads));
}

}  // namespace

void run_grpo(const config::LoadedConfig& loaded) {
  const config::RunConfig& config = loaded.config;
  prepare_process(config);
  check_output_dir(config);
  data::Dataset dataset = load_samples(config::train_files(config.data), config.data, config.data.limit);
  Session session = open_training(config, /*with_rewards=*/true);
  const PromptSource prompts(*session.model, config.data, std::move(dataset.samples),
                             static_cast<std::uint64_t>(config.seed));
  const std::int64_t group_tokens =
      prompt_tokens(prompts) + config.rollout.num_generations * config.rollout.max_completion_length;
  apply_checkpoint_policy(session, config, config.train.prompts_per_micro_batch() * group_tokens);
  GrpoTrainer trainer(*session.model, *session.adapter, *session.rewards, prompts, config);
  trainer.state().samples_skipped = dataset.skipped;
  resume(config, *session.adapter, trainer);
  RunFiles files(loaded, trainer.state().step);
  PeriodicEvaluation evaluation(config, session, files);
  run_loop(config, "train", *session.adapter, trainer, files, [&] {
    const StepReport report = trainer.step();
    bool is_logged = false;
    for (const auto& row : report.rows) {
      if (!is_due(config.train.logging_steps, row["step"].get<std::int64_t>(), config.train.steps)) continue;
      files.metrics().write(row);
      is_logged = true;
    }
    if (is_logged) {
      for (const auto& row : report.completions) files.completions().write(row);
    }
    evaluation.after_step(trainer.state().step);
    return report.rows.front();
  });
}

void run_sft(const config::LoadedConfig& loaded) {
  const config::RunConfig& config = loaded.config;
  prepare_process(config);
  check_output_dir(config);
  data::Dataset dataset = load_samples(config::train_files(config.data), config.data, config.data.limit);
  Session session = open_training(config, /*with_rewards=*/!config.rewards.empty());
  const PromptSource prompts(*session.model, config.data, std::move(dataset.samples),
                             static_cast<std::uint64_t>(config.seed));
  apply_checkpoint_policy(session, config, config.train.samples_per_micro_batch() * prompt_tokens(prompts));
  SftTrainer trainer(*session.model, *session.adapter, prompts, config);
  trainer.state().samples_skipped = dataset.skipped;
  resume(config, *session.adapter, trainer);
  RunFiles files(loaded, trainer.state().step);
  PeriodicEvaluation evaluation(config, session, files);
  run_loop(config, "sft", *session.adapter, trainer, files, [&] {
    const nlohmann::ordered_json metrics = trainer.step();
    if (is_due(config.train.logging_steps, trainer.state().step, config.train.steps))
      files.metrics().write(metrics);
    evaluation.after_step(trainer.state().step);
    return metrics;
  });
}

}  // namespace graft::train
