// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "model/safetensors.h"
#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::train {

using support::cat;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "checkpoint-";

nlohmann::ordered_json to_json(const RunState& state) {
  return {{"step", state.step},
          {"seed", state.seed},
          {"num_tokens", state.num_tokens},
          {"samples_drawn", state.samples_drawn},
          {"samples_skipped", state.samples_skipped},
          {"last_evaluation", state.last_evaluation},
          {"best",
           {{"metric", state.best.metric},
            {"value", state.best.value ? nlohmann::ordered_json(*state.best.value) : nullptr},
            {"step", state.best.step},
            {"evaluations_without_improvement", state.best.evaluations_without_improvement}}},
          {"metrics_window", state.window.to_json()}};
}

// Reads what an evaluation left; missing in the checkpoints of older versions.
void read_evaluation_state(const nlohmann::ordered_json& json, const fs::path& file, RunState& state) {
  state.last_evaluation = state.step;
  try {
    if (json.contains("last_evaluation")) json["last_evaluation"].get_to(state.last_evaluation);
    if (json.contains("best")) {
      const auto& best = json["best"];
      best.at("metric").get_to(state.best.metric);
      best.at("step").get_to(state.best.step);
      best.at("evaluations_without_improvement").get_to(state.best.evaluations_without_improvement);
      if (!best.at("value").is_null()) state.best.value = best["value"].get<double>();
    }
    if (json.contains("metrics_window")) state.window = MetricsWindow::from_json(json["metrics_window"]);
  } catch (const nlohmann::json::exception&) {
    throw support::UserError(
        cat(file,
            ": \"last_evaluation\" or \"best\" is not what it should be; the checkpoint is "
            "damaged, resume from another one"));
  }
}

RunState read_state(const fs::path& file) {
  const auto json = nlohmann::ordered_json::parse(support::read_file(file), nullptr, false);
  RunState state;
  const auto take = [&](const char* key, auto& member) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) {
      throw support::UserError(cat(file, ": \"", key,
                                   "\" is missing or not an integer; the checkpoint is damaged, resume from "
                                   "another one"));
    }
    json[key].get_to(member);
  };
  take("step", state.step);
  take("seed", state.seed);
  take("num_tokens", state.num_tokens);
  take("samples_drawn", state.samples_drawn);
  take("samples_skipped", state.samples_skipped);
  read_evaluation_state(json, file, state);
  return state;
}

// The step of "checkpoint-12"; nothing for another name.
std::optional<std::int64_t> checkpoint_step(const fs::path& directory) {
  const std::string name = directory.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (error != std::errc() || stop != end) return std::nullopt;
  return step;
}

// Newest first.
std::vector<fs::path> checkpoints(const fs::path& output_dir) {
  std::vector<fs::path> found;
  if (!fs::exists(output_dir)) return found;
  for (const fs::path& directory : support::list_directories(output_dir)) {
    if (checkpoint_step(directory)) found.push_back(directory);
  }
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return *checkpoint_step(a) > *checkpoint_step(b); });
  return found;
}

}  // namespace

void save_checkpoint(const fs::path& output_dir, const RunState& state, const adapt::Adapter& adapter,
                     const adapt::AdamW& optimizer, std::int64_t max_saved) {
  support::AtomicDirectory directory(checkpoint_directory(output_dir, state.step));
  adapter.save(directory.path() / (adapter.is_model() ? "model" : "adapter"));
  model::NamedTensors trained;
  for (const adapt::AdapterTensor& tensor : adapter.tensors()) {
    trained.emplace_back(tensor.name, tensor.tensor.detach());
  }
  model::write_safetensors(directory.path() / "trained.safetensors", trained);
  optimizer.save(directory.path() / "optimizer.safetensors");
  support::write_file_atomic(directory.path() / "run_state.json", to_json(state).dump(2) + "\n");
  directory.commit();
  if (max_saved <= 0) return;
  const std::vector<fs::path> all = checkpoints(output_dir);
  const fs::path best = state.best.value ? checkpoint_directory(output_dir, state.best.step) : fs::path();
  for (std::size_t i = static_cast<std::size_t>(max_saved); i < all.size(); ++i) {
    if (all[i].filename() != best.filename()) fs::remove_all(all[i]);
  }
}

fs::path checkpoint_directory(const fs::path& output_dir, std::int64_t step) {
  return output_dir / cat(kPrefix, step);
}

std::optional<fs::path> find_checkpoint(const fs::path& output_dir, const std::string& resume) {
  if (resume == "never") return std::nullopt;
  if (resume == "auto") {
    const std::vector<fs::path> all = checkpoints(output_dir);
    return all.empty() ? std::nullopt : std::optional<fs::path>(all.front());
  }
  if (!fs::exists(fs::path(resume) / "run_state.json")) {
    throw support::UserError(cat("train.resume names ", resume,
                                 ", which is not a checkpoint (it has no run_state.json); name a "
                                 "checkpoint-N directory of a run, or say auto"));
  }
  return fs::path(resume);
}

RunState load_checkpoint(const fs::path& checkpoint, std::uint64_t seed, adapt::Adapter& adapter,
                         adapt::AdamW& optimizer) {
  const RunState state = read_state(checkpoint / "run_state.json");
  if (state.seed != seed) {
    throw support::UserError(cat(checkpoint, " was made with seed ", state.seed, ", this run has seed ", seed,
                                 "; continue with the seed of the checkpoint"));
  }
  load_trained(checkpoint, adapter);
  optimizer.load(checkpoint / "optimizer.safetensors");
  return state;
}

void load_trained(const fs::path& checkpoint, adapt::Adapter& adapter) {
  const model::SafetensorsFile file(checkpoint / "trained.safetensors");
  if (file.entries().size() != adapter.tensors().size()) {
    throw support::UserError(cat(file.path(), " holds ", file.entries().size(), " tensors, this run trains ",
                                 adapter.tensors().size(),
                                 "; continue with the peft settings of the checkpoint"));
  }
  at::NoGradGuard no_grad;
  for (const adapt::AdapterTensor& tensor : adapter.tensors()) {
    const model::TensorEntry* entry = file.find(tensor.name);
    if (entry == nullptr || entry->sizes != tensor.tensor.sizes().vec()) {
      throw support::UserError(
          cat(file.path(), ": tensor \"", tensor.name, "\" is ",
              entry == nullptr ? std::string("missing") : entry->shape(),
              ", which is not what this run trains; continue with the peft settings of the "
              "checkpoint"));
    }
    at::Tensor target = tensor.tensor;
    target.copy_(file.view(*entry));
  }
}

}  // namespace graft::train
