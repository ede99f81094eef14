// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "train/best_model.h"
#include "train/metrics.h"

namespace graft::train {

// Where a run stands after `step` optimizer steps. All random draws are keyed by (seed, step, …), so the seed and the step
// are the whole random state, and the position in the data follows from the step.
struct RunState {
  std::int64_t step = 0;
  std::uint64_t seed = 0;
  std::int64_t num_tokens = 0;       // prompt and completion tokens so far
  std::int64_t samples_drawn = 0;    // position in the data order
  std::int64_t samples_skipped = 0;  // bad samples so far
  std::int64_t last_evaluation = 0;  // step of the last evaluation during the run
  BestModel best;
  MetricsWindow window;  // metrics of the steps since the last logged row
};

// `<output_dir>/checkpoint-<step>`:
//   adapter/ or model/      what other tools read (PEFT's format, or a Hugging Face directory for `full`)
//   trained.safetensors     every trained tensor, float32, bit for bit
//   optimizer.safetensors   the optimizer's moments
//   run_state.json          RunState
// Written under a temporary name and renamed, so it is whole or absent. Keeps the newest `max_saved` (0: all) and the one of
// state.best.
void save_checkpoint(const std::filesystem::path& output_dir, const RunState& state,
                     const adapt::Adapter& adapter, const adapt::AdamW& optimizer, std::int64_t max_saved);

// The checkpoint to continue from: "never": none; "auto": the newest of output_dir, none if there is none; else that
// directory. UserError if it is named but not a checkpoint.
[[nodiscard]] std::optional<std::filesystem::path> find_checkpoint(const std::filesystem::path& output_dir,
                                                                   const std::string& resume);

// The directory of the checkpoint at `step`, whether or not it exists.
[[nodiscard]] std::filesystem::path checkpoint_directory(const std::filesystem::path& output_dir,
                                                         std::int64_t step);

// Restores trained tensors and optimizer; UserError if the checkpoint belongs to another seed or another set of tensors.
[[nodiscard]] RunState load_checkpoint(const std::filesystem::path& checkpoint, std::uint64_t seed,
                                       adapt::Adapter& adapter, adapt::AdamW& optimizer);

// Restores the trained tensors alone; UserError if they are others than the checkpoint's.
void load_trained(const std::filesystem::path& checkpoint, adapt::Adapter& adapter);

}  // namespace graft::train
