// SPDX-License-Identifier: Apache-2.0
#include "adapt/base_adapters.h"

#include <ATen/core/grad_mode.h>

#include <set>
#include <utility>

#include "adapt/adapter_state.h"
#include "adapt/chain_hook.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {

BaseAdapters::BaseAdapters() = default;
BaseAdapters::BaseAdapters(BaseAdapters&&) noexcept = default;
BaseAdapters& BaseAdapters::operator=(BaseAdapters&&) noexcept = default;
BaseAdapters::~BaseAdapters() = default;

BaseAdapters BaseAdapters::load(model::Model& model, plugin::Registry& registry,
                                const std::vector<std::filesystem::path>& directories) {
  BaseAdapters base;
  for (const auto& directory : directories) {
    AttachOptions options;
    options.adapter = directory;
    auto attachment = attach_stored(model, registry, options, base);
    base.require_no_copies(model.params(), attachment->plan);
    for (auto& tensor : attachment->plan.tensors) {
      tensor.tensor.requires_grad_(false);
      tensor.is_trained = false;
    }
    base.list_.push_back({directory.string(), std::move(attachment)});
  }
  return base;
}

std::shared_ptr<model::LinearHook> BaseAdapters::chain(const std::shared_ptr<model::LinearHook>& top) const {
  if (list_.empty()) return top;
  std::vector<ChainLink> links;
  for (const Item& item : list_) links.push_back({item.attachment->strategy, item.attachment->plan.hook});
  return std::make_shared<ChainHook>(std::move(links), top);
}

void BaseAdapters::merge(MergedParams& merged) const {
  for (const Item& item : list_)
    merge_into(item.attachment->model, item.attachment->strategy, item.attachment->plan, merged);
}

std::vector<model::Param> BaseAdapters::merged_params(std::vector<model::Param> params) const {
  const at::NoGradGuard no_grad;
  MergedParams merged;
  merge(merged);
  for (auto& [index, tensor] : merged) {
    model::Param& param = params[index];
    param.tensor = param.scales.defined() ? tensor : tensor.to(param.tensor.scalar_type());
    param.scales = at::Tensor();
    param.holds_int8 = false;
  }
  return params;
}

void BaseAdapters::require_no_copies(const std::vector<model::Param>& params, const Plan& above) const {
  for (const Item& item : list_) {
    const Attachment& attachment = *item.attachment;
    std::set<std::string> changed;
    for (const auto site : attachment.plan.sites)
      changed.insert(params[static_cast<std::size_t>(attachment.model.sites()[site].weight)].name);
    for (const auto& tensor : attachment.plan.tensors) {
      if (tensor.is_copy) changed.insert(tensor.name);
    }
    for (const auto& tensor : above.tensors) {
      if (!tensor.is_copy || changed.count(tensor.name) == 0) continue;
      throw support::UserError(support::cat(
          "peft.base_adapters: ", item.directory, " changes ", tensor.name,
          ", of which the adapter above it holds a copy (modules_to_save, or trained biases); merge ",
          item.directory, " into the model first"));
    }
  }
}

std::string BaseAdapters::summary() const {
  std::string text;
  for (const Item& item : list_) {
    text += support::cat("  beneath it, frozen: ", item.attachment->strategy.name(), " from ", item.directory,
                         ", ", item.attachment->plan.sites.size(), " linear layers\n");
  }
  return text;
}

}  // namespace graft::adapt
