// SPDX-License-Identifier: Apache-2.0
// How far an adapter has moved the layers that it adapts.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <stdexcept>

#include "adapt/adapter_state.h"
#include "adapt/merge.h"

namespace graft::adapt {

namespace {

double frobenius_norm(const at::Tensor& tensor) {
  return tensor.norm().item<double>();
}

// Puts other values into tensors; the old ones are back, bit for bit, at the end.
class OtherValues {
 public:
  OtherValues(std::vector<at::Tensor> tensors, const std::vector<at::Tensor>& values)
      : tensors_(std::move(tensors)) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      kept_.push_back(tensors_[i].clone());
      tensors_[i].copy_(values[i]);
    }
  }
  ~OtherValues() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].copy_(kept_[i]);
  }
  OtherValues(const OtherValues&) = delete;
  OtherValues& operator=(const OtherValues&) = delete;

 private:
  std::vector<at::Tensor> tensors_, kept_;
};

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
    const auto dense = [&](std::int32_t param) {
      if (param < 0) return at::Tensor();
      const auto merged = below.find(static_cast<std::uint32_t>(param));
      return merged == below.end() ? own.model.params()[static_cast<std::size_t>(param)].dense(at::kFloat)
                                   : merged->second;
    };
    const at::Tensor weight = dense(layer.weight), bias = dense(layer.bias);
    const auto merged = [&] {
      return merge_site(own.strategy, *site, own.plan.hook->shared(), weight, bias).first;
    };
    std::vector<at::Tensor> tensors, initial;
    for (std::size_t i = 0; i < state_->trained.size(); ++i) {
      for (const at::Tensor& param : site->params) {
        if (!param.is_same(state_->trained[i])) continue;
        tensors.push_back(state_->trained[i].detach());
        initial.push_back(state_->reference[i]);
      }
    }
    const at::Tensor now = merged();
    const OtherValues at_start(std::move(tensors), initial);
    changes.push_back(
        {layer.name, frobenius_norm(now.sub(merged())) / std::max(frobenius_norm(weight), 1e-30)});
  }
  return changes;
}

}  // namespace graft::adapt
