// SPDX-License-Identifier: Apache-2.0
#include "train/run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>

#include "plugin/host_services.h"
#include "support/error.h"
#include "support/files.h"
#include "support/interrupt.h"
#include "support/log.h"
#include "support/progress.h"
#include "support/strings.h"
#include "train/calibration.h"
#include "train/checkpoint.h"
#include "train/grpo.h"
#include "train/memory_plan.h"
#include "train/metrics.h"
#include "train/periodic_evaluation.h"
#include "train/preflight.h"
#include "train/run_length.h"
#include "train/session.h"
#include "train/sft.h"
#include "train/watch.h"

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

// Continues from the checkpoint that train.resume names, if any.
template <typename Trainer>
void resume(const config::RunConfig& config, adapt::Adapter& adapter, Trainer& trainer) {
  const auto checkpoint = find_checkpoint(config.output_dir, config.train.resume);
  if (!checkpoint) return;
  trainer.state() =
      load_checkpoint(*checkpoint, static_cast<std::uint64_t>(config.seed), adapter, trainer.optimizer());
  support::log_info(cat("continuing from ", *checkpoint, ", step ", trainer.state().step));
  BestModel& best = trainer.state().best;
  if (best.value && !fs::exists(checkpoint_directory(config.output_dir, best.step))) {
    support::log_warn(cat("the best checkpoint so far, of step ", best.step,
                          ", is not in output_dir; the best "
                          "is searched anew"));
    best = {};
  }
}

// Writes what is logged of the rows of one call: the means since the last logged row. True if something was.
bool log_rows(const config::RunConfig& config, RunState& state,
              const std::vector<nlohmann::ordered_json>& rows, MetricsFile& metrics, Watch& watch) {
  bool is_logged = false;
  for (const auto& row : rows) {
    state.window.add(row);
    const auto step = row["step"].get<std::int64_t>();
    if (!is_due(config.train.logging_steps, step - 1, step) && step != config.train.steps) continue;
    const nlohmann::ordered_json logged = state.window.take();
    metrics.write(logged);
    watch.observe(logged);
    is_logged = true;
  }
  return is_logged;
}

// What the run leaves: an adapter, or a model directory from a strategy that trains the base weights. The best one if so configured.
void save_result(const config::RunConfig& config, const BestModel& best, adapt::Adapter& adapter,
                 const fs::path& directory) {
  if (config.train.load_best_model_at_end && !best.value) {
    support::log_warn(cat("no evaluation gave a value of ", *config.train.metric_for_best_model,
                          ", so the result is the last model instead of the best"));
  }
  if (config.train.load_best_model_at_end && best.value) {
    load_trained(checkpoint_directory(directory, best.step), adapter);
    support::log_info(cat("the best model is that of step ", best.step, ": ", best.metric, " ", *best.value));
  }
  const bool is_model = adapter.is_model();
  const fs::path result = directory / (is_model ? "model" : "adapter");
  fs::remove_all(result);
  adapter.save(result);
  support::log_info(cat(is_model ? "model" : "adapter", " saved in ", result));
}

// Runs `one_step` to the end of the run. It returns the rows of the optimizer steps that it took, and gets to know afterwards
// whether any of them was logged. Evaluations come before checkpoints of the same step, and are caught up with after a resume.
template <typename Trainer, typename OneStep, typename AfterLog>
void run_loop(const config::RunConfig& config, const char* label, adapt::Adapter& adapter, Trainer& trainer,
              const PeriodicEvaluation& evaluation, RunFiles& files, OneStep&& one_step,
              AfterLog&& after_log) {
  RunState& state = trainer.state();
  Watch watch(config, adapter, files.directory(), state.step);
  const std::int64_t last = config.train.steps;
  std::int64_t saved = state.step;
  const auto save = [&] {
    save_checkpoint(files.directory(), state, adapter, trainer.optimizer(),
                    config.train.max_saved.value_or(0));
    saved = state.step;
  };
  write_best_model(files.directory(), state.best);  // a resumed run may have gone back behind it
  support::Progress progress(label, last, {state.step, config.train.logging_steps});
  try {
    while (true) {
      const bool is_best = evaluation.is_due(state) && evaluation.run(state, files.metrics());
      const bool is_over = state.step >= last || evaluation.is_exhausted(state);
      // Early stopping: the steps since the last logged row are logged, too.
      if (is_over && !state.window.empty()) files.metrics().write(state.window.take());
      if (is_best || is_due(config.train.save_steps, saved, state.step) || (is_over && saved != state.step))
        save();
      if (is_best) write_best_model(files.directory(), state.best);
      if (is_over) break;
      if (support::interrupt_requested()) throw support::Interrupted("a signal came");
      const std::int64_t before = state.step;
      std::vector<nlohmann::ordered_json> rows = one_step();
      watch.measure(before, rows);
      after_log(log_rows(config, state, rows, files.metrics(), watch));
      progress.update(state.step, progress_fields(rows.front()));
    }
  } catch (const support::Interrupted&) {
    progress.finish();
    save();
    throw support::Interrupted(cat("stopped by a signal after step ", state.step, " of ", last, "; saved in ",
                                   files.directory(), ", continue with the same command and --resume auto"));
  }
  progress.finish();
  save_result(config, state.best, adapter, files.directory());
}

// A pass over `n_prompts` typical prompts with `more_tokens` behind each: what checkpoint policies plan with.
memory::PassSize pass_size(const config::RunConfig& config, const PromptSource& prompts,
                           std::int64_t n_prompts, std::int64_t more_tokens) {
  std::int64_t position = 0, skipped = 0;
  const model::Prompt prompt = prompts.draw(1, &position, &skipped).front().prompt;
  memory::PassSize size;
  size.tokens = n_prompts * (static_cast<std::int64_t>(prompt.ids.size()) + more_tokens);
  for (const model::PreparedImage& image : prompt.images) size.patches += n_prompts * image.values.size(0);
  const std::optional<std::int64_t>& budget = config.train.micro_batch_tokens;
  if (!budget || *budget >= size.tokens) return size;
  return {*budget, size.patches * *budget / size.tokens};
}

void prepare_process(const config::RunConfig& config) {
  support::install_interrupt_handlers();
  plugin::set_run_seed(static_cast<std::uint64_t>(config.seed));
  if (config.train.threads > 0) at::set_num_threads(static_cast<int>(config.train.threads));
}

// What a run starts from, before a model is opened: its samples, and the configuration with the length that follows from them.
struct Start {
  data::Dataset dataset;
  config::LoadedConfig loaded;
};

Start start_run(const config::LoadedConfig& given, config::Command command) {
  prepare_process(given.config);
  check_output_dir(given.config);
  check_watch(given.config);
  Start start;
  start.dataset = load_samples(config::train_files(given.config.data), given.config, given.config.data.limit);
  start.loaded = with_run_length(given, static_cast<std::int64_t>(start.dataset.samples.size()), command);
  return start;
}

// Attaches the adapter of a run, which may look at its data first, unless the run continues from a checkpoint.
void attach(Session& session, const config::RunConfig& config, const PromptSource& prompts,
            config::Command command) {
  const auto checkpoint = find_checkpoint(config.output_dir, config.train.resume);
  const fs::path calibrated = checkpoint ? *checkpoint / "adapter" : fs::path();
  attach_adapter(session, config, calibration_data(*session.model, prompts, config, command), calibrated);
}

}  // namespace

void run_grpo(const config::LoadedConfig& given) {
  auto [dataset, loaded] = start_run(given, config::kTrain);
  const config::RunConfig& config = loaded.config;
  const auto samples = std::make_shared<const std::vector<data::Sample>>(std::move(dataset.samples));
  const std::optional<MemoryPlan> predicted = predict_memory(config, samples);
  Session session = open_training(config, /*with_rewards=*/true);
  const PromptSource prompts(*session.model, config.data, samples, static_cast<std::uint64_t>(config.seed));
  attach(session, config, prompts, config::kTrain);
  apply_checkpoint_policy(session, config,
                          pass_size(config, prompts, config.train.prompts_per_micro_batch(),
                                    config.rollout.num_generations * config.rollout.max_completion_length));
  GrpoTrainer trainer(*session.model, *session.adapter, *session.rewards, prompts, config);
  trainer.state().samples_skipped = dataset.skipped;
  const PeriodicEvaluation evaluation(config, session, config::kTrain);
  resume(config, *session.adapter, trainer);
  if (trainer.state().step == 0) run_preflight(session, prompts, config);
  RunFiles files(loaded, trainer.state().step);
  nlohmann::ordered_json completions;
  run_loop(
      config, "train", *session.adapter, trainer, evaluation, files,
      [&] {
        StepReport report = trainer.step();
        if (predicted) add_predictions(report.rows.front(), *predicted);
        completions = std::move(report.completions);
        return std::move(report.rows);
      },
      [&](bool is_logged) {
        if (!is_logged) return;
        for (const auto& row : completions) files.completions().write(row);
      });
}

void run_sft(const config::LoadedConfig& given) {
  auto [dataset, loaded] = start_run(given, config::kSft);
  const config::RunConfig& config = loaded.config;
  const bool is_scored = config.train.eval_steps > 0 && !config.rewards.empty();
  Session session = open_training(config, is_scored);
  const PromptSource prompts(*session.model, config.data, std::move(dataset.samples),
                             static_cast<std::uint64_t>(config.seed));
  attach(session, config, prompts, config::kSft);
  apply_checkpoint_policy(session, config,
                          pass_size(config, prompts, config.train.samples_per_micro_batch(), 0));
  SftTrainer trainer(*session.model, *session.adapter, prompts, config);
  trainer.state().samples_skipped = dataset.skipped;
  const PeriodicEvaluation evaluation(config, session, config::kSft);
  resume(config, *session.adapter, trainer);
  RunFiles files(loaded, trainer.state().step);
  run_loop(
      config, "sft", *session.adapter, trainer, evaluation, files,
      [&] { return std::vector<nlohmann::ordered_json>{trainer.step()}; }, [](bool) {});
}

}  // namespace graft::train
