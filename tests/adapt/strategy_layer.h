// SPDX-License-Identifier: Apache-2.0
// One linear layer with a strategy plugin on it.
#pragma once

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <graft/checkpoint_policy.h>

#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "adapt/values_view.h"
#include "tests/adapt/plugin_registry.h"

namespace graft::test {

// Of the plugin of that name, loaded once in the process.
inline plugin::Registry& registry_of(const std::string& plugin) {
  static auto* const registries = new std::map<std::string, plugin::Registry*>();
  plugin::Registry*& registry = (*registries)[plugin];
  if (registry == nullptr)
    registry = new_registry((std::string(GRAFT_PLUGIN_DIR "/") + plugin + ".so").c_str());
  return *registry;
}

struct LayerSize {
  std::int64_t in = 6, out = 8;
  bool has_bias = true;
};

class StrategyLayer {
 public:
  explicit StrategyLayer(const std::string& plugin, const nlohmann::json& options = nlohmann::json::object(),
                         LayerSize size = {})
      : strategy(registry_of(plugin), plugin, options),
        weight(first_draw({size.out, size.in})),
        bias(size.has_bias ? at::randn({size.out}) : at::Tensor()) {
    add_param("weight", weight);
    if (bias.defined()) add_param("bias", bias);
    sites.push_back({kName, 0, bias.defined() ? 1 : -1, GRAFT_COMPONENT_LANGUAGE, size.in, size.out});
    adapt::PlanInput input{sites, params, {true}, {}, {}, {adapt::SiteOverrides{}}, 7};
    input.selected_params.assign(params.size(), false);
    input.saved_params.assign(params.size(), false);
    plan = adapt::make_plan(strategy, input);
  }

  // Whatever is trained gets random values, as training would give it.
  void train(double deviation = 0.3) {
    const at::NoGradGuard no_grad;
    for (auto& tensor : plan.tensors) {
      if (tensor.is_trained) tensor.tensor.add_(at::randn(tensor.tensor.sizes()), deviation);
    }
  }

  // Of the site, or of the whole model.
  [[nodiscard]] at::Tensor param(const std::string& name) const {
    for (const auto& tensor : plan.tensors) {
      if (tensor.name == name || tensor.name == std::string(kName) + '.' + name) return tensor.tensor;
    }
    throw std::out_of_range(name);
  }

  [[nodiscard]] at::Tensor base(const at::Tensor& x) const {
    return at::linear(x, weight.to(x.dtype()), bias.defined() ? bias.to(x.dtype()) : bias);
  }
  at::Tensor operator()(const at::Tensor& x, bool is_training = false) {
    const model::BaseLayer layer{[&](const at::Tensor& input) { return base(input); }, [&] { return weight; },
                                 [&] { return bias; }};
    model::PassOptions pass;
    pass.is_training = is_training;
    return plan.hook->linear(0, x, layer, pass);
  }
  // The merged layer, of a bias only if it has one.
  [[nodiscard]] at::Tensor merged(const at::Tensor& x) const {
    const at::NoGradGuard no_grad;
    const adapt::Float32Site values(*plan.hook->adapted().front(), plan.hook->shared(), weight, bias);
    const auto [new_weight, new_bias] = strategy.merge(values.raw());
    return at::linear(x, new_weight, new_bias.defined() ? new_bias : bias);
  }

  [[nodiscard]] nlohmann::json exported() const {
    return *strategy.export_config(adapt::ModelView(*plan.hook, sites, params, adapt::Weights::kNone).raw());
  }

  static constexpr const char* kName = "model.layers.0.mlp.down_proj";
  adapt::Strategy strategy;
  at::Tensor weight, bias;
  std::vector<model::Site> sites;
  std::vector<model::Param> params;
  adapt::Plan plan;

 private:
  // LibTorch seeds its generator differently in each process; here every run of a test draws the same.
  static at::Tensor first_draw(at::IntArrayRef sizes) {
    at::manual_seed(5);
    return at::randn(sizes);
  }

  void add_param(const char* suffix, const at::Tensor& tensor) {
    model::Param param;
    param.name = std::string(kName) + '.' + suffix;
    param.sizes = tensor.sizes().vec();
    param.component = GRAFT_COMPONENT_LANGUAGE;
    param.tied_to = -1;
    param.tensor = tensor;
    params.push_back(std::move(param));
  }
};

// What the plugin makes of an adapter_config.json: its parameters, or {"refused": why}.
inline nlohmann::json imported(const std::string& plugin, const nlohmann::json& config) {
  std::string refusal;
  auto params =
      adapt::import_config(registry_of(plugin).find(GRAFT_KIND_PEFT, plugin), config.dump(), &refusal);
  return params ? std::move(*params) : nlohmann::json{{"refused", refusal}};
}

}  // namespace graft::test
