// SPDX-License-Identifier: Apache-2.0
#include "adapt/values_view.h"

#include "model/tensor_handle.h"

namespace graft::adapt {
namespace {

std::vector<graft_tensor> lend_all(const std::vector<at::Tensor>& tensors) {
  std::vector<graft_tensor> handles;
  handles.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) handles.push_back(model::lend(tensor));
  return handles;
}

}  // namespace

ModelView::ModelView(const StrategyHook& hook, const std::vector<model::Site>& sites,
                     const std::vector<model::Param>& params, Weights weights, Grads grads, std::int64_t step,
                     std::int64_t total_steps)
    : raw_{} {
  const std::vector<graft_tensor>& shared = handles_.emplace_back(lend_all(hook.shared()));
  for (const AdaptedSite* adapted : hook.adapted()) {
    const model::Site& site = sites[adapted->index];
    graft_peft_values& values = values_.emplace_back();
    values.hdr = GRAFT_HDR(graft_peft_values);
    values.site = &adapted->view;
    const model::Param& weight = params[static_cast<std::size_t>(site.weight)];
    const bool is_wanted = weights == Weights::kLent;
    if (is_wanted) {
      values.weight =
          model::lend(weight.scales.defined() ? kept_.emplace_back(weight.dense(at::kFloat)) : weight.tensor);
    }
    values.bias = site.bias < 0 ? nullptr : model::lend(params[static_cast<std::size_t>(site.bias)].tensor);
    values.params = adapted->handles.data();
    values.grads = lend_grads(adapted->params, grads);
    values.shared = shared.data();
    values.n_params = static_cast<std::uint32_t>(adapted->handles.size());
    values.n_shared = static_cast<std::uint32_t>(shared.size());
    list_.push_back(&values);
  }
  raw_.hdr = GRAFT_HDR(graft_peft_model);
  raw_.sites = list_.data();
  raw_.shared = shared.data();
  raw_.shared_grads = lend_grads(hook.shared(), grads);
  raw_.n_sites = static_cast<std::uint32_t>(list_.size());
  raw_.n_shared = static_cast<std::uint32_t>(shared.size());
  raw_.step = step;
  raw_.total_steps = total_steps;
}

const graft_tensor* ModelView::lend_grads(const std::vector<at::Tensor>& params, Grads grads) {
  if (grads == Grads::kNone) return nullptr;
  std::vector<graft_tensor>& handles = handles_.emplace_back();
  for (const at::Tensor& param : params) {
    const at::Tensor& grad = param.grad();
    handles.push_back(grad.defined() ? model::lend(kept_.emplace_back(grad)) : nullptr);
  }
  return handles.data();
}

Float32Site::Float32Site(const AdaptedSite& site, const std::vector<at::Tensor>& shared,
                         const at::Tensor& weight, const at::Tensor& bias)
    : weight_(weight.to(at::kFloat)),
      bias_(bias.defined() ? bias.to(at::kFloat) : at::Tensor()),
      shared_(lend_all(shared)),
      raw_{} {
  raw_.hdr = GRAFT_HDR(graft_peft_values);
  raw_.site = &site.view;
  raw_.weight = model::lend(weight_);
  raw_.bias = bias_.defined() ? model::lend(bias_) : nullptr;
  raw_.params = site.handles.data();
  raw_.shared = shared_.data();
  raw_.n_params = static_cast<std::uint32_t>(site.handles.size());
  raw_.n_shared = static_cast<std::uint32_t>(shared_.size());
}

}  // namespace graft::adapt
