// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/calibration.h"
#include "config/run_config.h"
#include "data/jsonl.h"
#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "model/model.h"
#include "plugin/registry.h"
#include "rewards/rewards.h"

namespace graft::train {

// The parts of a run that the configuration names, opened and composed: family × strategy × checkpoint policy × rewards.
struct Session {
  std::unique_ptr<plugin::Registry> registry;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
  std::unique_ptr<rewards::RewardSet> rewards;
};

// A registry with the default search path and the configuration's extra plugin files; registers the tensor services.
[[nodiscard]] std::unique_ptr<plugin::Registry> open_registry(const std::vector<std::string>& plugin_files);

[[nodiscard]] std::unique_ptr<model::Model> open_model(plugin::Registry& registry,
                                                       const config::RunConfig& config,
                                                       bool without_values = false);
[[nodiscard]] std::unique_ptr<rewards::RewardSet> open_rewards(plugin::Registry& registry,
                                                               const config::RunConfig& config);

// For training: rewards if asked for, and the model. attach_adapter() comes next.
[[nodiscard]] Session open_training(const config::RunConfig& config, bool with_rewards);

// How the configured strategy is attached, and what only the attached one can tell of the configuration (UserError).
[[nodiscard]] adapt::AttachOptions attach_options(const config::RunConfig& config);
void check_attached(const config::RunConfig& config, const adapt::Adapter& adapter);

// Attaches the configured strategy, and tells what it trains. `calibration`: training data that it may look at first. `calibrated`:
// the adapter of a checkpoint that the run continues from, whose layers and ranks hold in place of a calibration; empty: none.
void attach_adapter(Session& session, const config::RunConfig& config,
                    const adapt::CalibrationData& calibration, const std::filesystem::path& calibrated);

// Asks checkpoint policies about micro-batches of this size, with the adapters that are attached.
[[nodiscard]] std::vector<memory::Decision> checkpoint_decisions(plugin::Registry& registry,
                                                                 model::Model& model,
                                                                 const config::CheckpointPolicyConfig& policy,
                                                                 const memory::PassSize& size);
// Asks the configured ones, and installs their decisions.
void apply_checkpoint_policy(Session& session, const config::RunConfig& config, const memory::PassSize& size);

// For inference: the model, and the adapters at peft.base_adapters and peft.adapter if there are any. Rewards too, if any are configured.
[[nodiscard]] Session open_inference(const config::RunConfig& config);

// The samples of all files, under data.strict and with the configured place of images; with `limit`, at most that many.
[[nodiscard]] data::Dataset load_samples(const std::vector<config::DataFile>& files,
                                         const config::RunConfig& config, std::optional<std::int64_t> limit);

}  // namespace graft::train
