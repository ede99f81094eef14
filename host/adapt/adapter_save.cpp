// SPDX-License-Identifier: Apache-2.0
// How an adapter is written: in PEFT's format, or merged into the model.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>

#include <map>
#include <set>
#include <utility>

#include "adapt/adapter_state.h"
#include "adapt/peft_config.h"
#include "adapt/peft_tensors.h"
#include "adapt/stored_adapter.h"
#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::adapt {

void Adapter::save(const std::filesystem::path& directory) const {
  const auto& model = state_->model;
  if (state_->plan.trains_base) {
    model.save(directory);
    return;
  }
  const at::NoGradGuard no_grad;
  std::vector<std::string> adapted, modules;
  for (const auto site : state_->plan.sites) adapted.push_back(model.sites()[site].name);
  for (const auto& param : model.params()) modules.push_back(module_of(param.name));
  auto own = state_->strategy.export_config(state_->view().raw());
  if (!own)
    own = nlohmann::json{{kStrategyKey, strategy()}, {kParamsKey, resolved_params()}, {"peft_type", nullptr}};
  const bool may_exclude = state_->strategy.files_exclude();
  auto config =
      adapter_config(*own, model.directory().string(), describe_targets(adapted, modules, may_exclude));
  if (!may_exclude) config.erase("exclude_modules");
  if (!state_->modules_to_save.empty()) config["modules_to_save"] = state_->modules_to_save;
  write_patterns(config, state_->plan.hook->adapted());

  support::AtomicDirectory target(directory);
  support::write_file_atomic(target.path() / "adapter_config.json", config.dump(2) + "\n");
  write_adapter_tensors(target.path(), stored_tensors(), model.sites(),
                        site_names(model.sites(), model.params()));
  target.commit();
}

std::vector<AdapterTensor> Adapter::stored_tensors() const {
  const auto& plan = state_->plan;
  std::vector<AdapterTensor> stored;
  std::set<std::int64_t> exported;  // sites whose tensors the strategy names itself
  for (const AdaptedSite* site : plan.hook->adapted()) {
    const model::Site& layer = state_->model.sites()[site->index];
    const at::Tensor bias =
        layer.bias < 0 ? at::Tensor() : state_->model.params()[static_cast<std::size_t>(layer.bias)].tensor;
    const model::Param& weight = state_->model.params()[static_cast<std::size_t>(layer.weight)];
    const Float32Site values(*site, plan.hook->shared(), weight.dense(at::kFloat), bias);
    auto tensors = state_->strategy.export_tensors(values.raw());
    if (!tensors) break;
    exported.insert(site->index);
    for (auto& [name, tensor] : *tensors) {
      AdapterTensor item;
      item.name = support::cat(layer.name, '.', name);
      item.tensor = std::move(tensor);
      item.site = site->index;
      stored.push_back(std::move(item));
    }
  }
  for (const auto& tensor : plan.tensors) {
    const bool is_named = !tensor.is_base && tensor.site >= 0 && exported.count(tensor.site) > 0;
    if (tensor.is_saved && !is_named) stored.push_back(tensor);
  }
  return stored;
}

void Adapter::save_merged(const std::filesystem::path& directory) const {
  const auto& model = state_->model;
  std::map<std::uint32_t, at::Tensor> merged;
  const at::NoGradGuard no_grad;
  for (const auto& tensor : state_->plan.tensors) {
    if (!tensor.is_copy) continue;
    for (std::uint32_t i = 0; i < model.params().size(); ++i) {
      if (model.params()[i].name == tensor.name) merged[i] = tensor.tensor.detach();
    }
  }
  const auto current = [&](std::int32_t param) {
    const auto found = merged.find(static_cast<std::uint32_t>(param));
    return found == merged.end() ? model.params()[static_cast<std::size_t>(param)].dense(at::kFloat)
                                 : found->second;
  };
  for (const AdaptedSite* site :
       state_->plan.hook ? state_->plan.hook->adapted() : std::vector<const AdaptedSite*>()) {
    const model::Site& layer = model.sites()[site->index];
    const Float32Site values(*site, state_->plan.hook->shared(), current(layer.weight),
                             layer.bias < 0 ? at::Tensor() : current(layer.bias));
    auto [weight, bias] = state_->strategy.merge(values.raw());
    if (bias.defined() && layer.bias < 0) {
      throw support::UserError(support::cat("the adapter adds a bias to ", layer.name,
                                            ", which has none to merge it into; use the adapter as it is"));
    }
    merged[static_cast<std::uint32_t>(layer.weight)] = std::move(weight);
    if (bias.defined()) merged[static_cast<std::uint32_t>(layer.bias)] = std::move(bias);
  }
  for (auto& [index, tensor] : merged) {
    if (!tensor.isfinite().all().item<bool>()) {
      throw support::UserError(support::cat("the merged ", model.params()[index].name,
                                            " has elements that are not finite; the adapter is damaged"));
    }
    tensor = tensor.to(model.dtype());
  }
  model.save(directory, merged);
}

}  // namespace graft::adapt
