// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <graft/peft.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapt/site_patterns.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "plugin/registry.h"

namespace graft::adapt {

// A parameter that a strategy wants.
struct PlannedParam {
  std::string name;  // "lora_A.weight"
  std::vector<std::int64_t> sizes;
  at::ScalarType dtype;
  std::int32_t init;  // GRAFT_INIT_*
  double init_scale;
  bool is_trained;
  bool is_saved;
  double learning_rate_scale;
};

// A selected site and what the user's patterns say of it.
struct SelectedSite {
  const model::Site* site;
  SiteOverrides overrides;
};

// What a selected site was given in one pass of a calibration.
struct Observation {
  const SelectedSite& site;
  std::uint32_t index;     // of it among those given to calibrate()
  std::int64_t pass;       // from 0
  at::Tensor x;            // [T, in_features], without a graph
  at::Tensor answer_rows;  // [A] int64, undefined if there are none
};

// What a calibration made of a selected site; 0: as it was.
struct Allotment {
  std::int64_t rank = 0;
  double alpha = 0.0;
  bool is_dropped = false;
};

// A PEFT strategy plugin behind C++ types. Failures of the plugin, and what it says that makes no sense, are
// PluginError. Control thread only.
class Strategy {
 public:
  Strategy(plugin::Registry& registry, const std::string& name, const nlohmann::json& params);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const nlohmann::json& params() const { return params_; }  // defaults filled in
  [[nodiscard]] bool adapts_sites() const { return table_->plan_site != nullptr; }
  [[nodiscard]] bool trains_base() const { return table_->plan_base != nullptr; }
  [[nodiscard]] bool takes_rank() const { return (table_->properties & GRAFT_PEFT_TAKES_RANK) != 0; }
  [[nodiscard]] bool takes_alpha() const { return (table_->properties & GRAFT_PEFT_TAKES_ALPHA) != 0; }
  [[nodiscard]] bool files_exclude() const { return (table_->properties & GRAFT_PEFT_NO_EXCLUSION) == 0; }
  [[nodiscard]] bool can_merge() const { return table_->merge != nullptr; }
  [[nodiscard]] bool initializes() const { return table_->initialize != nullptr; }
  [[nodiscard]] bool regularizes() const { return table_->regularize != nullptr; }
  [[nodiscard]] bool changes_updates() const {
    return table_->before_update != nullptr || table_->after_update != nullptr;
  }

  // Whether it wants passes over training data before it is planned for these sites.
  [[nodiscard]] bool calibrate(const std::vector<SelectedSite>& sites) const;
  void observe(const Observation& observation) const;
  // After a pass: what becomes of the sites of calibrate(), which takes the place of `allotments`. True: it has seen enough.
  // UserError if its parameters do not fit.
  bool allot(const std::vector<SelectedSite>& sites, std::vector<Allotment>& allotments) const;

  [[nodiscard]] std::vector<PlannedParam> plan_model(const std::vector<SelectedSite>& sites) const;
  [[nodiscard]] std::vector<PlannedParam> plan_site(const SelectedSite& site) const;
  // By index of `params`, which parameters are trained themselves, tied ones as their owners; `sites`: the site of each, -1
  // if none. UserError if the strategy's parameters do not fit the model.
  [[nodiscard]] std::vector<bool> plan_base(const std::vector<model::Param>& params,
                                            const std::vector<std::int32_t>& sites,
                                            const std::vector<bool>& selected) const;
  void initialize(const graft_peft_model& model) const;

  // Undefined if there is nothing to add to the loss.
  [[nodiscard]] at::Tensor regularize(const graft_peft_model& model) const;
  void before_update(const graft_peft_model& model) const;
  void after_update(const graft_peft_model& model) const;

  // The weight and bias (undefined: as it was) of the plain layer. `values` in float32.
  [[nodiscard]] std::pair<at::Tensor, at::Tensor> merge(const graft_peft_values& values) const;
  // The strategy's fields of adapter_config.json; none if it has no counterpart in PEFT.
  [[nodiscard]] std::optional<nlohmann::json> export_config(const graft_peft_model& model) const;
  // The tensors of a site as PEFT's file holds them, names without the module's; none if they are the parameters themselves.
  [[nodiscard]] std::optional<model::NamedTensors> export_tensors(const graft_peft_values& values) const;

  // Whether import_tensors() reads a site's tensors; otherwise they are the parameters themselves.
  [[nodiscard]] bool reads_tensors() const { return table_->import_tensors != nullptr; }
  void import_tensors(const graft_peft_values& values, const model::NamedTensors& stored) const;

  [[nodiscard]] const std::shared_ptr<plugin::Instance>& instance() const { return instance_; }
  [[nodiscard]] const graft_peft& table() const { return *table_; }

 private:
  // A slot that may find the user's parameters, or the layers they are for, unfit: that is a UserError.
  void call_on_user_data(const std::function<graft_status(graft_error*)>& slot) const;

  std::string name_;
  std::string who_;
  nlohmann::json params_;
  std::shared_ptr<plugin::Instance> instance_;
  const graft_peft* table_;
};

// Parameters of component `name` that an adapter_config.json stands for. On refusal returns none and says
// why.
[[nodiscard]] std::optional<nlohmann::json> import_config(const plugin::Component& component,
                                                          const std::string& config_text,
                                                          std::string* refusal);

// A new tensor filled as planned: each draw is keyed by (seed, full name). On the device of `like`; no
// gradient required.
[[nodiscard]] at::Tensor make_param(const PlannedParam& plan, const std::string& full_name,
                                    std::uint64_t seed, const at::Tensor& like);

// The site as plugins see it; borrows the name.
[[nodiscard]] graft_site site_view(const model::Site& site, const SiteOverrides& overrides = {});

}  // namespace graft::adapt
