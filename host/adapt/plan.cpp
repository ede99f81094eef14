// SPDX-License-Identifier: Apache-2.0
#include "adapt/plan.h"

#include <ATen/ops/clone.h>
#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <utility>

#include "model/tensor_handle.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

void plan_sites(const Strategy& strategy, const std::vector<model::Site>& sites,
                const std::vector<model::Param>& params, const std::vector<bool>& selected,
                std::uint64_t seed, Plan& plan) {
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (!selected[i]) continue;
    std::vector<at::Tensor> tensors;
    for (const auto& planned : strategy.plan_site(sites[i])) {
      AdapterTensor tensor;
      tensor.name = support::cat(sites[i].name, '.', planned.name);
      tensor.tensor =
          make_param(planned, tensor.name, seed, params[static_cast<std::size_t>(sites[i].weight)].tensor);
      tensor.tensor.requires_grad_(planned.is_trained);
      tensor.is_trained = planned.is_trained;
      tensor.component = sites[i].component;
      tensor.site = static_cast<std::int64_t>(i);
      tensors.push_back(tensor.tensor);
      plan.tensors.push_back(std::move(tensor));
    }
    if (tensors.empty()) continue;
    if (!plan.hook) plan.hook = std::make_shared<StrategyHook>(strategy, sites);
    plan.hook->adapt_site(static_cast<std::uint32_t>(i), std::move(tensors));
    plan.sites.push_back(static_cast<std::uint32_t>(i));
  }
}

// Weights may be read-only views of the checkpoint's file; what is trained needs memory of its own. The
// tensor stays the same object, so whoever holds it sees the change.
void make_trainable(model::Param& param, const std::string& strategy) {
  if (param.tensor.scalar_type() != at::kFloat) {
    throw support::UserError(
        support::cat("peft.strategy=", strategy,
                     " trains the model's own weights, which needs model.dtype=float32; found ",
                     model::name_of_dtype(param.tensor.scalar_type()),
                     ", in which small updates are lost; for speed, model.compute_dtype=bfloat16 computes "
                     "with float32 weights in bfloat16"));
  }
  param.tensor.set_data(param.tensor.detach().clone());
  param.tensor.requires_grad_(true);
}

void plan_base(const Strategy& strategy, const std::vector<model::Site>& sites,
               std::vector<model::Param>& params, const std::vector<bool>& selected, Plan& plan) {
  std::vector<std::int32_t> site_of(params.size(), -1);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    for (const auto param : {sites[i].weight, sites[i].bias}) {
      if (param >= 0) site_of[static_cast<std::size_t>(param)] = static_cast<std::int32_t>(i);
    }
  }
  for (auto& param : params) param.tensor.requires_grad_(false);
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (params[i].tied_to >= 0 || !strategy.trains(params[i], site_of[i], selected[i])) continue;
    make_trainable(params[i], strategy.name());
    AdapterTensor tensor;
    tensor.name = params[i].name;
    tensor.tensor = params[i].tensor;
    tensor.is_base = true;
    tensor.component = params[i].component;
    tensor.site = site_of[i];
    plan.tensors.push_back(std::move(tensor));
    plan.trains_base = true;
  }
}

}  // namespace

std::vector<std::vector<std::string>> site_names(const std::vector<model::Site>& sites,
                                                 const std::vector<model::Param>& params) {
  constexpr std::string_view kWeight = ".weight";
  std::vector<std::vector<std::string>> names;
  for (const auto& site : sites) {
    std::vector<std::string> list = {site.name};
    for (const auto& alias : params[static_cast<std::size_t>(site.weight)].aliases) {
      if (alias.ends_with(kWeight)) list.push_back(alias.substr(0, alias.size() - kWeight.size()));
    }
    names.push_back(std::move(list));
  }
  return names;
}

std::vector<bool> select_by_names(const std::vector<model::Site>& sites,
                                  const std::vector<std::vector<std::string>>& names,
                                  const TargetSpec& spec) {
  const TargetMatcher matcher(spec);
  std::vector<bool> selected;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const bool is_spared = spec.selects_all() && sites[i].component == GRAFT_COMPONENT_HEAD;
    const auto targets = [&](const std::string& name) { return matcher.targets(name); };
    const auto excludes = [&](const std::string& name) { return matcher.excludes(name); };
    selected.push_back(!is_spared && std::any_of(names[i].begin(), names[i].end(), targets) &&
                       std::none_of(names[i].begin(), names[i].end(), excludes));
  }
  return selected;
}

Plan make_plan(const Strategy& strategy, const std::vector<model::Site>& sites,
               std::vector<model::Param>& params, const std::vector<bool>& selected_sites,
               const std::vector<bool>& selected_params, std::uint64_t seed) {
  Plan plan;
  plan_sites(strategy, sites, params, selected_sites, seed, plan);
  plan_base(strategy, sites, params, selected_params, plan);
  const bool trains =
      std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const auto& t) { return t.is_trained; });
  if (!trains) {
    throw support::UserError(
        support::cat("peft.strategy=", strategy.name(),
                     " would train no parameter: peft.target_modules, "
                     "peft.exclude_modules and peft.components leave no layer; widen one of them"));
  }
  if (plan.trains_base && !plan.sites.empty()) {
    throw support::PluginError(
        support::cat("PEFT strategy \"", strategy.name(),
                     "\" trains base parameters and adds some of its own; a strategy can do one of the two"));
  }
  return plan;
}

}  // namespace graft::adapt
