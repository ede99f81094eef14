// SPDX-License-Identifier: Apache-2.0
// How an adapter is written: in PEFT's format, or merged into the model.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>

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
  const auto& model = state_->own->model;
  if (state_->own->plan.trains_base) {
    model.save(directory);
    return;
  }
  const at::NoGradGuard no_grad;
  std::vector<std::string> adapted, modules;
  for (const auto site : state_->own->plan.sites) adapted.push_back(model.sites()[site].name);
  for (const auto& param : model.params()) modules.push_back(module_of(param.name));
  auto own = state_->own->strategy.export_config(state_->own->view().raw());
  if (!own)
    own = nlohmann::json{{kStrategyKey, strategy()}, {kParamsKey, resolved_params()}, {"peft_type", nullptr}};
  const bool may_exclude = state_->own->strategy.files_exclude();
  auto config =
      adapter_config(*own, model.directory().string(), describe_targets(adapted, modules, may_exclude));
  if (!may_exclude) config.erase("exclude_modules");
  if (!state_->own->modules_to_save.empty()) config["modules_to_save"] = state_->own->modules_to_save;
  write_patterns(config, state_->own->plan.hook->adapted());

  support::AtomicDirectory target(directory);
  support::write_file_atomic(target.path() / "adapter_config.json", config.dump(2) + "\n");
  write_adapter_tensors(target.path(), stored_tensors(), model.sites(),
                        site_names(model.sites(), model.params()));
  target.commit();
}

std::vector<AdapterTensor> Adapter::stored_tensors() const {
  const auto& plan = state_->own->plan;
  std::vector<AdapterTensor> stored;
  std::set<std::int64_t> exported;  // sites whose tensors the strategy names itself
  for (const AdaptedSite* site : plan.hook->adapted()) {
    const model::Site& layer = state_->own->model.sites()[site->index];
    const at::Tensor bias = layer.bias < 0
                                ? at::Tensor()
                                : state_->own->model.params()[static_cast<std::size_t>(layer.bias)].tensor;
    const model::Param& weight = state_->own->model.params()[static_cast<std::size_t>(layer.weight)];
    const Float32Site values(*site, plan.hook->shared(), weight.dense(at::kFloat), bias);
    auto tensors = state_->own->strategy.export_tensors(values.raw());
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
  const auto& model = state_->own->model;
  const at::NoGradGuard no_grad;
  MergedParams merged;
  state_->base.merge(merged);
  merge_into(model, state_->own->strategy, state_->own->plan, merged);
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
