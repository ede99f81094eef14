// SPDX-License-Identifier: Apache-2.0
// The memory of a run before it begins: `graft plan`, and the predictions beside the measured peaks in metrics.jsonl.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "memory/estimate.h"
#include "train/prompt_source.h"

namespace graft::train {

struct PlanOptions {
  // Beside the configured combination, every checkpoint policy with LoRA, DoRA and full fine-tuning.
  bool all_combinations = false;
  std::optional<std::int64_t> memory;  // bytes to fit into
};

// One combination of strategy and checkpoint policy.
struct PlannedCell {
  std::string strategy, policy;
  std::optional<memory::Estimate> estimate;
  std::string refusal;  // why there is none
  // With PlanOptions::memory: prompts that one pass (train.micro_prompts) may have; 0 if not even one fits.
  std::optional<std::int64_t> largest_pass;
};

struct MemoryPlan {
  std::string family, model, dtype;
  std::int64_t parameters = 0;
  std::size_t prompts = 0, pass_prompts = 0;  // of a rollout, of the largest pass
  std::size_t prompt_tokens = 0;              // of the longest prompt
  std::int64_t num_generations = 0, completion_length = 0;
  std::int64_t process = 0;        // bytes that the program and its libraries take before a model is opened
  bool is_upper_bound = false;     // mixed precision is counted as float32
  std::vector<PlannedCell> cells;  // the configured one first

  [[nodiscard]] nlohmann::ordered_json json() const;
  [[nodiscard]] std::string text(const PlanOptions& options) const;  // for people
  // Whether the configured combination stays below options.memory; true without one.
  [[nodiscard]] bool fits(const PlanOptions& options) const;
};

// Reads the configuration, the headers of the weights' files and the first prompts of `samples`; neither weights nor activations are
// allocated. Completions are taken at their full length. UserError as a run gives it for the configured combination; others that
// cannot be estimated say so in their cell. Control thread.
[[nodiscard]] MemoryPlan plan_memory(const config::RunConfig& config, const SharedSamples& samples,
                                     const PlanOptions& options);

// The configured combination alone, beside a run: nothing, and a line in the log, where it cannot be estimated.
[[nodiscard]] std::optional<MemoryPlan> predict_memory(const config::RunConfig& config,
                                                       const SharedSamples& samples);

// memory/PHASE_predicted_gib beside each memory/PHASE_gib of `row`.
void add_predictions(nlohmann::ordered_json& row, const MemoryPlan& plan);

}  // namespace graft::train
