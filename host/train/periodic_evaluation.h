// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "config/run_config.h"
#include "train/best_model.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/prompt_source.h"
#include "train/session.h"

namespace graft::train {

// Evaluation on data.eval during a run, every train.eval_steps optimizer steps and at the end, and the search for the best
// model. graft train generates and scores; graft sft computes the validation loss, and generates if there are rewards.
class PeriodicEvaluation {
 public:
  // Loads the samples. UserError if train.metric_for_best_model is not among what the evaluation will give, or if no
  // sample can be used. `session` outlives it.
  PeriodicEvaluation(const config::RunConfig& config, const Session& session, config::Command command);

  // Whether an evaluation was due since the last one: a multiple of eval_steps was reached or crossed, or the run is over.
  [[nodiscard]] bool is_due(const RunState& state) const;
  // Evaluates now, writes a row of metrics (prefix "eval_"; time/evaluation and memory/evaluation_gib) and notes it in `state`.
  // True if this is the best model so far; then best.json is still to be written, once its checkpoint is. On support::Interrupted nothing has changed.
  [[nodiscard]] bool run(RunState& state, MetricsFile& metrics) const;
  // True if training shall stop early.
  [[nodiscard]] bool is_exhausted(const RunState& state) const { return rule_.is_exhausted(state.best); }

 private:
  const config::RunConfig& config_;
  const Session& session_;
  config::Command command_;
  BestModelRule rule_;
  std::unique_ptr<PromptSource> prompts_;  // null: nothing is evaluated
};

// best.json of a run directory: {"metric", "value", "step", "checkpoint"}; there is none without a best
// model. Atomic.
void write_best_model(const std::filesystem::path& output_dir, const BestModel& best);

}  // namespace graft::train
