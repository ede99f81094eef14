// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/site_patterns.h"
#include "adapt/targeting.h"
#include "model/model.h"
#include "plugin/registry.h"

namespace graft::adapt {

// A tensor that the optimizer trains, that is saved with the adapter, or that the strategy keeps between steps.
struct AdapterTensor {
  // "<site>.lora_A.weight" for tensors at sites, "vera_A" for those of the whole model, the parameter's name for trained base
  // parameters and their copies.
  std::string name;
  at::Tensor tensor;  // float32 master, leaf; requires_grad if trained
  bool is_trained = true;
  bool is_saved = true;        // part of the adapter's file
  bool is_base = false;        // a base parameter that is trained itself, or a copy of one
  bool is_copy = false;        // of a base parameter, which stays as it was
  std::int32_t component = 0;  // GRAFT_COMPONENT_*
  std::int64_t site = -1;      // index, -1 for parameters outside of sites
  double learning_rate_scale = 1.0;
};

// How far training has moved an adapted layer: ‖ΔW - ΔW of the start‖ / ‖W‖ in Frobenius norms.
struct LayerChange {
  std::string layer;
  double relative_change = 0.0;
};

struct CalibrationData;

struct AttachOptions {
  std::string strategy;                              // component name: "lora", "full"
  nlohmann::json params = nlohmann::json::object();  // as given by the user, without defaults
  TargetSpec targets;
  SitePatterns rank_pattern, alpha_pattern;  // as PEFT's fields of these names
  // Modules by name or ending, of which the adapter trains and saves whole copies (PEFT's modules_to_save).
  std::vector<std::string> modules_to_save;
  // Warm start from this PEFT directory; empty for a fresh adapter. Its layers and parameters hold: `targets`
  // is not used, and `params` that differ from the file's win with a warning.
  std::filesystem::path adapter;
  // PEFT directories that stay frozen beneath this adapter, first to last: y = base + each update, as with PEFT's
  // set_adapter([a, b]).
  std::vector<std::filesystem::path> base_adapters;
  std::uint64_t seed = 0;
  // Passes over training data, for a fresh adapter of a strategy that looks at it first; null: none are offered.
  const CalibrationData* calibration = nullptr;
  // The same adapter as an earlier part of this run saved it: takes the place of a calibration. Empty: none.
  std::filesystem::path calibrated;
};

// A PEFT strategy attached to a model: allocates and initialises its parameters, serves as the model's
// LinearHook, saves and loads them. Attaching sets requires_grad of every base parameter; destruction
// unhooks. The model must outlive it. Control thread only, linear() aside.
class Adapter {
 public:
  // Selects sites, plans, allocates and hooks into the model. Throws UserError if nothing is trained, a
  // target matches nothing (naming the nearest layers), or a base parameter of a model that is not float32
  // would be trained.
  static std::unique_ptr<Adapter> attach(model::Model& model, plugin::Registry& registry,
                                         const AttachOptions& options);
  // Attaches the adapter of a PEFT directory for inference or continued training: the strategy is found from
  // its adapter_config.json (import_config). UserError listing every missing, unexpected and misshapen
  // tensor.
  static std::unique_ptr<Adapter> load(model::Model& model, plugin::Registry& registry,
                                       const std::filesystem::path& directory, std::uint64_t seed = 0);
  ~Adapter();
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  // In the order of the model's sites, then of its base parameters.
  [[nodiscard]] const std::vector<AdapterTensor>& tensors() const;
  [[nodiscard]] std::int64_t trained_parameters() const;
  // A table of the adapted layers and of trained parameters by component, for people.
  [[nodiscard]] std::string summary() const;
  [[nodiscard]] const nlohmann::json& resolved_params() const;
  [[nodiscard]] const std::string& strategy() const;
  // What the strategy adds to the loss in each optimizer step, with its graph; undefined if nothing.
  [[nodiscard]] at::Tensor regularization(std::int64_t step, std::int64_t total_steps) const;
  // Around the optimizer's step, while the gradients are there; see graft_peft. `step`: optimizer steps done before.
  void before_update(std::int64_t step, std::int64_t total_steps) const;
  void after_update(std::int64_t step, std::int64_t total_steps) const;

  // True if switching adapters off gives the reference policy: no base parameter is trained, no warm start was loaded, and
  // nothing lies beneath.
  [[nodiscard]] bool base_is_reference() const;
  // True if the model's own weights are trained, so that save() writes a whole model and no policy without adapter is left.
  [[nodiscard]] bool is_model() const;

  // True if its strategy looked at training data before it was planned, or would have but for AttachOptions::calibrated.
  [[nodiscard]] bool is_calibrated() const;

  // Writes the model with the adapter, and before it those beneath, merged into its weights as a plain model directory:
  // float32 arithmetic, rounded once to the dtype of the weights. A head that is tied to the embeddings is stored on its own if either changes. UserError if the
  // strategy cannot be merged.
  void save_merged(const std::filesystem::path& directory) const;

  // Writes PEFT's format: adapter_config.json and adapter_model.safetensors, from which PEFT adapts exactly
  // the same layers, without the adapters beneath; a strategy that trains base parameters writes the whole model directory
  // instead. Atomic: an existing directory is replaced.
  void save(const std::filesystem::path& directory) const;

  // Keeps a copy of all trained tensors as they are now: the reference policy where base_is_reference() is
  // false.
  void keep_reference();
  // Runs `body` with these values in place; the current ones are back afterwards, bit for bit, also if it
  // throws. No graph may be alive across the call. keep_reference() comes first.
  void with_reference(const std::function<void()>& body);
  // Of each adapted layer since keep_reference(); none if the strategy cannot be merged. float32, a merge or two a layer.
  [[nodiscard]] std::vector<LayerChange> layer_changes() const;

 private:
  struct State;
  // The tensors of the adapter's file, in memory of their own where the strategy computes them.
  [[nodiscard]] std::vector<AdapterTensor> stored_tensors() const;
  explicit Adapter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace graft::adapt
