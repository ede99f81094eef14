// SPDX-License-Identifier: Apache-2.0
#include "adapt/strategy_hook.h"

#include <ATen/core/grad_mode.h>

#include <exception>
#include <functional>
#include <utility>

#include "model/autocast.h"
#include "model/slot_errors.h"
#include "model/tensor_handle.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// The base layer within one call of a plugin. Exceptions wait here while the plugin's frames unwind by
// status.
struct BaseCall {
  const model::BaseLayer& base;
  std::exception_ptr failure;
  at::Tensor weight, bias;  // lent until the end of the call
};

graft_status base_forward(const graft_base_linear* table, graft_tensor x, graft_tensor* y,
                          graft_error* error) {
  auto& call = *static_cast<BaseCall*>(table->context);
  try {
    *y = model::give(call.base.forward(model::share(x)));
    return GRAFT_OK;
  } catch (...) {
    call.failure = std::current_exception();
    return model::report_exception(error, "base layer");
  }
}

// Lends a part of the base layer, which is asked for once.
graft_status lend_part(BaseCall& call, const std::function<at::Tensor()>& part, at::Tensor& kept,
                       graft_tensor* borrowed, graft_error* error) {
  try {
    if (!kept.defined()) kept = part();
    *borrowed = model::lend(kept);
    return GRAFT_OK;
  } catch (...) {
    call.failure = std::current_exception();
    return model::report_exception(error, "base layer");
  }
}

graft_status base_weight(const graft_base_linear* table, graft_tensor* borrowed, graft_error* error) {
  auto& call = *static_cast<BaseCall*>(table->context);
  return lend_part(call, call.base.weight, call.weight, borrowed, error);
}

graft_status base_bias(const graft_base_linear* table, graft_tensor* borrowed, graft_error* error) {
  auto& call = *static_cast<BaseCall*>(table->context);
  return lend_part(call, call.base.bias, call.bias, borrowed, error);
}

std::string shape_text(const at::Tensor& tensor) {
  if (!tensor.defined()) return "no tensor";
  std::vector<std::string> sizes;
  for (const auto size : tensor.sizes()) sizes.push_back(std::to_string(size));
  return support::cat('[', support::join(sizes, ", "), "] ", model::name_of_dtype(tensor.scalar_type()));
}

}  // namespace

StrategyHook::StrategyHook(const Strategy& strategy, const std::vector<model::Site>& sites)
    : sites_(sites.size()),
      declared_(sites),
      strategy_(strategy.name()),
      instance_(strategy.instance()),
      table_(&strategy.table()) {}

void StrategyHook::adapt_site(std::uint32_t site, const SiteOverrides& overrides,
                              std::vector<at::Tensor> params) {
  auto adapted = std::make_unique<AdaptedSite>();
  adapted->index = site;
  adapted->name = declared_.at(site).name;
  adapted->who = support::cat("PEFT strategy \"", strategy_, "\" at ", adapted->name);
  adapted->view = site_view(declared_[site], overrides);
  adapted->view.name = plugin::view(adapted->name);
  adapted->params = std::move(params);
  for (const auto& param : adapted->params) adapted->handles.push_back(model::lend(param));
  sites_[site] = std::move(adapted);
}

void StrategyHook::share(std::vector<at::Tensor> shared) {
  shared_ = std::move(shared);
  shared_handles_.clear();
  for (const auto& tensor : shared_) shared_handles_.push_back(model::lend(tensor));
}

void StrategyHook::replace(std::uint32_t param, at::Tensor copy) {
  copies_[param] = std::move(copy);
}

const at::Tensor* StrategyHook::replacement(std::uint32_t param) const {
  const auto found = copies_.find(param);
  return found == copies_.end() ? nullptr : &found->second;
}

std::vector<const AdaptedSite*> StrategyHook::adapted() const {
  std::vector<const AdaptedSite*> list;
  for (const auto& site : sites_) {
    if (site) list.push_back(site.get());
  }
  return list;
}

bool StrategyHook::covers(std::uint32_t site) const {
  return site < sites_.size() && sites_[site] != nullptr;
}

at::Tensor StrategyHook::linear(std::uint32_t site, const at::Tensor& x, const model::BaseLayer& base,
                                const model::PassOptions& options) {
  if (!options.adapters_enabled || !covers(site)) return base.forward(x);
  const auto& adapted = *sites_[site];
  BaseCall base_call{base, nullptr, {}, {}};
  const graft_base_linear base_table{GRAFT_HDR(graft_base_linear), &base_call, &base_forward, &base_weight,
                                     &base_bias};
  const graft_peft_call call{.hdr = GRAFT_HDR(graft_peft_call),
                             .site = &adapted.view,
                             .x = model::lend(x),
                             .base = &base_table,
                             .params = adapted.handles.data(),
                             .shared = shared_handles_.data(),
                             .n_params = static_cast<std::uint32_t>(adapted.handles.size()),
                             .n_shared = static_cast<std::uint32_t>(shared_handles_.size()),
                             .is_training = options.is_training ? 1 : 0,
                             .reserved = 0};

  const at::AutoGradMode restore_grad_mode(at::GradMode::is_enabled());  // a plugin may change it and forget
  graft_tensor result = nullptr;
  plugin::call(adapted.who, [&](graft_error* error) {
    const auto status = table_->linear(instance_->raw(), &call, &result, error);
    if (status != GRAFT_OK && base_call.failure) std::rethrow_exception(base_call.failure);
    return status;
  });
  auto y = model::take(result);
  // Under autocast the base layer gives another dtype than x's, and what is computed with float32 parameters may be float32.
  const auto autocast = model::autocast_dtype(x.device().type());
  const auto outer = autocast.value_or(x.scalar_type());
  const bool has_dtype = y.defined() && (y.scalar_type() == x.scalar_type() || y.scalar_type() == outer ||
                                         (autocast.has_value() && y.scalar_type() == at::kFloat));
  if (!has_dtype || y.dim() != x.dim() || y.size(-1) != adapted.view.out_features || y.size(0) != x.size(0)) {
    throw support::PluginError(support::cat(adapted.who, " returned ", shape_text(y), " for an input of ",
                                            shape_text(x), "; expected ", adapted.view.out_features,
                                            " columns and the input's dtype"));
  }
  return y.to(outer);
}

std::vector<at::Tensor> StrategyHook::trained_tensors(std::uint32_t site) const {
  std::vector<at::Tensor> trained;
  if (!covers(site)) return trained;
  for (const auto& param : sites_[site]->params) {
    if (param.requires_grad()) trained.push_back(param);
  }
  for (const auto& param : shared_) {
    if (param.requires_grad()) trained.push_back(param);
  }
  return trained;
}

}  // namespace graft::adapt
