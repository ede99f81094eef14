// SPDX-License-Identifier: Apache-2.0
#include "adapt/plan.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/clone.h>
#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <utility>

#include "adapt/values_view.h"
#include "model/tensor_handle.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

AdapterTensor allocate(const PlannedParam& planned, std::string name, std::uint64_t seed,
                       const at::Tensor& like) {
  AdapterTensor tensor;
  tensor.name = std::move(name);
  tensor.tensor = make_param(planned, tensor.name, seed, like);
  tensor.tensor.requires_grad_(planned.is_trained);
  tensor.is_trained = planned.is_trained;
  tensor.is_saved = planned.is_saved;
  tensor.learning_rate_scale = planned.learning_rate_scale;
  return tensor;
}

void plan_shared(const Strategy& strategy, const PlanInput& input, Plan& plan) {
  std::vector<SelectedSite> sites;
  for (std::size_t i = 0; i < input.sites.size(); ++i) {
    if (input.selected_sites[i]) sites.push_back({&input.sites[i], input.overrides[i]});
  }
  std::vector<at::Tensor> tensors;
  for (const auto& planned : strategy.plan_model(sites)) {
    plan.tensors.push_back(allocate(planned, planned.name, input.seed, input.params.front().tensor));
    tensors.push_back(plan.tensors.back().tensor);
  }
  plan.hook->share(std::move(tensors));
}

void plan_sites(const Strategy& strategy, const PlanInput& input, Plan& plan) {
  for (std::size_t i = 0; i < input.sites.size(); ++i) {
    if (!input.selected_sites[i]) continue;
    const model::Site& site = input.sites[i];
    std::vector<at::Tensor> tensors;
    for (const auto& planned : strategy.plan_site({&site, input.overrides[i]})) {
      AdapterTensor tensor = allocate(planned, support::cat(site.name, '.', planned.name), input.seed,
                                      input.params[static_cast<std::size_t>(site.weight)].tensor);
      tensor.component = site.component;
      tensor.site = static_cast<std::int64_t>(i);
      tensors.push_back(tensor.tensor);
      plan.tensors.push_back(std::move(tensor));
    }
    if (tensors.empty()) continue;
    plan.hook->adapt_site(static_cast<std::uint32_t>(i), input.overrides[i], std::move(tensors));
    plan.sites.push_back(static_cast<std::uint32_t>(i));
  }
}

// Weights may be read-only views of the checkpoint's file; what is trained needs memory of its own. The
// tensor stays the same object, so whoever holds it sees the change.
void make_trainable(model::Param& param, const std::string& strategy) {
  if (param.tensor.scalar_type() != at::kFloat) {
    throw support::UserError(support::cat(
        "peft.strategy=", strategy,
        " trains the model's own weights, which needs model.dtype=float32 and no model.quantize; found ",
        param.holds_int8 ? "int8" : model::name_of_dtype(param.tensor.scalar_type()),
        ", in which small updates are lost; for speed, model.compute_dtype=bfloat16 computes "
        "with float32 weights in bfloat16"));
  }
  param.tensor.set_data(param.tensor.detach().clone());
  param.tensor.requires_grad_(true);
}

// A float32 copy that is trained in place of the parameter while adapters are on.
at::Tensor trained_copy(const model::Param& param) {
  at::Tensor copy = param.dense(at::kFloat)
                        .detach()
                        .to(at::kFloat, /*non_blocking=*/false, /*copy=*/!param.scales.defined());
  return copy.requires_grad_(true);
}

// Two parameters of one tensor cannot be trained as two.
void refuse_tied(const std::vector<model::Param>& params, std::size_t index) {
  const model::Param* other = nullptr;
  if (params[index].tied_to >= 0) other = &params[static_cast<std::size_t>(params[index].tied_to)];
  for (const model::Param& param : params) {
    if (param.tied_to == static_cast<std::int32_t>(index)) other = &param;
  }
  if (other == nullptr) return;
  throw support::UserError(support::cat(
      "peft.modules_to_save: ", params[index].name, " is tied to ", other->name,
      ", so a trained copy of one would no longer be the other; leave it out, or adapt the layer "
      "with peft.target_modules"));
}

void plan_base(const Strategy& strategy, const PlanInput& input, Plan& plan) {
  std::vector<model::Param>& params = input.params;
  std::vector<std::int32_t> site_of(params.size(), -1);
  for (std::size_t i = 0; i < input.sites.size(); ++i) {
    for (const auto param : {input.sites[i].weight, input.sites[i].bias}) {
      if (param >= 0) site_of[static_cast<std::size_t>(param)] = static_cast<std::int32_t>(i);
    }
  }
  for (auto& param : params) param.tensor.requires_grad_(false);
  const std::vector<bool> trains = strategy.plan_base(params, site_of, input.selected_params);
  for (std::size_t i = 0; i < params.size(); ++i) {
    const bool is_copied = input.saved_params[i];
    if (is_copied) refuse_tied(params, i);
    if (params[i].tied_to >= 0) continue;
    if (!is_copied && !trains[i]) continue;
    AdapterTensor tensor;
    tensor.name = params[i].name;
    tensor.is_base = true;
    tensor.is_copy = is_copied || strategy.adapts_sites();
    tensor.component = params[i].component;
    tensor.site = site_of[i];
    if (tensor.is_copy) {
      tensor.tensor = trained_copy(params[i]);
      plan.hook->replace(static_cast<std::uint32_t>(i), tensor.tensor);
    } else {
      make_trainable(params[i], strategy.name());
      tensor.tensor = params[i].tensor;
      plan.trains_base = true;
    }
    plan.tensors.push_back(std::move(tensor));
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

Plan make_plan(const Strategy& strategy, const PlanInput& input) {
  Plan plan;
  plan.hook = std::make_shared<StrategyHook>(strategy, input.sites);
  plan_shared(strategy, input, plan);
  plan_sites(strategy, input, plan);
  plan_base(strategy, input, plan);
  const bool trains =
      std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const auto& t) { return t.is_trained; });
  if (!trains) {
    throw support::UserError(
        support::cat("peft.strategy=", strategy.name(),
                     " would train no parameter: peft.target_modules, "
                     "peft.exclude_modules and peft.components leave no layer; widen one of them"));
  }
  if (plan.trains_base) {
    plan.hook.reset();
    return plan;
  }
  if (input.params.front().tensor.is_meta()) return plan;  // no values to start from
  const at::NoGradGuard no_grad;
  const bool is_on_adapters = input.base != nullptr && !input.base->empty() && strategy.initializes();
  const auto params = is_on_adapters ? input.base->merged_params(input.params) : input.params;
  strategy.initialize(ModelView(*plan.hook, input.sites, params, Weights::kLent).raw());
  return plan;
}

}  // namespace graft::adapt
