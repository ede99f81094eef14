// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <graft/peft.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/hooks.h"
#include "model/model.h"
#include "plugin/registry.h"

namespace graft::adapt {

// A parameter that a strategy wants at a site.
struct PlannedParam {
  std::string name;  // "lora_A.weight"
  std::vector<std::int64_t> sizes;
  at::ScalarType dtype;
  std::int32_t init;  // GRAFT_INIT_*
  double init_scale;
  bool is_trained;
};

// A PEFT strategy plugin behind C++ types. Failures of the plugin, and what it says that makes no sense, are
// PluginError.
class Strategy {
 public:
  Strategy(plugin::Registry& registry, const std::string& name, const nlohmann::json& params);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const nlohmann::json& params() const { return params_; }  // defaults filled in
  [[nodiscard]] bool adapts_sites() const { return table_->plan_site != nullptr; }
  [[nodiscard]] bool trains_base() const { return table_->plan_base_param != nullptr; }

  [[nodiscard]] std::vector<PlannedParam> plan_site(const model::Site& site) const;
  [[nodiscard]] bool trains(const model::Param& param, std::int32_t site, bool is_selected) const;
  // The strategy's fields of adapter_config.json; none if it has no counterpart in PEFT.
  [[nodiscard]] std::optional<nlohmann::json> export_config() const;

  [[nodiscard]] const std::shared_ptr<plugin::Instance>& instance() const { return instance_; }
  [[nodiscard]] const graft_peft& table() const { return *table_; }

 private:
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

// The model's linear layers with a strategy applied. linear() runs on any thread; recompute nodes keep the
// hook alive.
class StrategyHook : public model::LinearHook {
 public:
  StrategyHook(const Strategy& strategy, const std::vector<model::Site>& sites);

  // Control thread, before the first pass. `params` in the order of plan_site().
  void adapt_site(std::uint32_t site, std::vector<at::Tensor> params);

  [[nodiscard]] bool covers(std::uint32_t site) const override;
  at::Tensor linear(std::uint32_t site, const at::Tensor& x,
                    const std::function<at::Tensor(const at::Tensor&)>& base, const at::Tensor& weight,
                    const model::PassOptions& options) override;
  [[nodiscard]] std::vector<at::Tensor> trained_tensors(std::uint32_t site) const override;

 private:
  struct AdaptedSite {
    std::string name;
    std::string who;  // for messages
    graft_site view;
    std::vector<at::Tensor> params;
    std::vector<graft_tensor> handles;  // of params
    std::int64_t out_features = 0;
  };
  std::vector<std::unique_ptr<AdaptedSite>> sites_;  // by site index, null if not adapted
  std::vector<model::Site> declared_;
  std::string strategy_;
  std::shared_ptr<plugin::Instance> instance_;
  const graft_peft* table_;
};

// The site as plugins see it; borrows the name.
[[nodiscard]] graft_site site_view(const model::Site& site);

}  // namespace graft::adapt
