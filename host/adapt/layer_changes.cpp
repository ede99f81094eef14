// SPDX-License-Identifier: Apache-2.0
// How far an adapter has moved the layers that it adapts.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <stdexcept>

#include "adapt/adapter_state.h"
#include "adapt/merge.h"
#include "adapt/swapped_values.h"

namespace graft::adapt {

namespace {

double frobenius_norm(const at::Tensor& tensor) {
  return tensor.norm().item<double>();
}

}  // namespace

std::vector<LayerChange> Adapter::layer_changes() const {
  const Attachment& own = *state_->own;
  std::vector<LayerChange> changes;
  if (!own.plan.hook || !own.strategy.can_merge()) return changes;
  if (state_->reference.size() != state_->trained.size()) {
    throw std::logic_error("Adapter::layer_changes() without keep_reference()");
  }
  const at::NoGradGuard no_grad;
  MergedParams below;
  state_->base.merge(below);
  for (const AdaptedSite* site : own.plan.hook->adapted()) {
    const model::Site& layer = own.model.sites()[site->index];
    const at::Tensor weight = merged_or_dense(own.model, below, layer.weight);
    const at::Tensor bias = merged_or_dense(own.model, below, layer.bias);
    const auto merged = [&] {
      return merge_site(own.strategy, *site, own.plan.hook->shared(), weight, bias).first;
    };
    std::vector<at::Tensor> tensors, initial;
    for (std::size_t i = 0; i < state_->trained.size(); ++i) {
      for (const at::Tensor& param : site->params) {
        if (!param.is_same(state_->trained[i])) continue;
        tensors.push_back(state_->trained[i]);
        initial.push_back(state_->reference[i]);
      }
    }
    const at::Tensor now = merged();
    const SwappedValues at_start(std::move(tensors), initial);
    changes.push_back(
        {layer.name, frobenius_norm(now.sub(merged())) / std::max(frobenius_norm(weight), 1e-30)});
  }
  return changes;
}

}  // namespace graft::adapt
