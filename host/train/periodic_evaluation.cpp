// SPDX-License-Identifier: Apache-2.0
#include "train/periodic_evaluation.h"

#include "support/error.h"
#include "support/files.h"
#include "support/log.h"
#include "support/strings.h"
#include "train/evaluate.h"
#include "train/phases.h"
#include "train/sft.h"

namespace graft::train {

using support::cat;

namespace {

std::vector<std::string> metric_names(const Session& session, config::Command command) {
  std::vector<std::string> names;
  if (command == config::kSft) names = validation_metrics();
  if (session.rewards != nullptr) {
    const std::vector<std::string> scores = summary_metrics(*session.rewards);
    names.insert(names.end(), scores.begin(), scores.end());
  }
  for (std::string& name : names) name = "eval_" + name;
  return names;
}

// Otherwise every evaluation of the run would be empty.
void require_usable_sample(const PromptSource& prompts) {
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (prompts.usable(i)) return;
  }
  throw support::UserError("no sample of data.eval can be used; see the warnings above");
}

}  // namespace

PeriodicEvaluation::PeriodicEvaluation(const config::RunConfig& config, const Session& session,
                                       config::Command command)
    : config_(config), session_(session), command_(command), rule_(config.train) {
  if (config.train.eval_steps == 0) return;
  rule_.require_known(metric_names(session, command));
  data::Dataset dataset = load_samples(config::eval_files(config.data), config, config.eval.samples);
  prompts_ = std::make_unique<PromptSource>(*session.model, config.data, std::move(dataset.samples), 0);
  require_usable_sample(*prompts_);
}

bool PeriodicEvaluation::is_due(const RunState& state) const {
  if (prompts_ == nullptr || state.step == state.last_evaluation) return false;
  const std::int64_t every = config_.train.eval_steps;
  return state.step >= config_.train.steps || state.step / every > state.last_evaluation / every;
}

bool PeriodicEvaluation::run(RunState& state, MetricsFile& metrics) const {
  nlohmann::ordered_json row{{"step", state.step}};
  const auto add = [&](const nlohmann::ordered_json& values) {
    for (const auto& [name, value] : values.items()) row["eval_" + name] = value;
  };
  Phases phases;
  phases.run("evaluation", [&] {
    if (command_ == config::kSft) add(validate(*session_.model, *prompts_, config_));
    if (session_.rewards != nullptr) {
      add(evaluate(*session_.model, *session_.rewards, *prompts_, config_).summary);
    }
  });
  phases.add_to(row);
  state.last_evaluation = state.step;
  const bool is_best = rule_.update(state.best, state.step, row);
  metrics.write(row);
  row.erase("step");
  support::log_info(
      cat("evaluation at step ", state.step, ": ", row.dump(), is_best ? ", the best so far" : ""));
  if (is_exhausted(state)) {
    support::log_info(
        cat("stopping early: ", rule_.metric(), " did not improve in ",
            state.best.evaluations_without_improvement, " evaluations; the best was ",
            state.best.value ? cat(*state.best.value, " at step ", state.best.step) : "never there"));
  }
  return is_best;
}

void write_best_model(const std::filesystem::path& output_dir, const BestModel& best) {
  const std::filesystem::path file = output_dir / "best.json";
  if (!best.value) {
    std::filesystem::remove(file);
    return;
  }
  const nlohmann::ordered_json note = {
      {"metric", best.metric},
      {"value", *best.value},
      {"step", best.step},
      {"checkpoint", checkpoint_directory(output_dir, best.step).filename().string()}};
  support::write_file_atomic(file, note.dump(2) + "\n");
}

}  // namespace graft::train
