// SPDX-License-Identifier: Apache-2.0
#include "adapt/chain_hook.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "adapt/merge.h"

namespace graft::adapt {

ChainHook::ChainHook(std::vector<ChainLink> links, std::shared_ptr<model::LinearHook> top)
    : links_(std::move(links)), top_(std::move(top)) {}

bool ChainHook::covers(std::uint32_t site) const {
  return (top_ != nullptr && top_->covers(site)) ||
         std::any_of(links_.begin(), links_.end(),
                     [&](const ChainLink& link) { return link.hook->covers(site); });
}

at::Tensor ChainHook::linear(std::uint32_t site, const at::Tensor& x, const model::BaseLayer& base,
                             const model::PassOptions& options) {
  if (top_ == nullptr || !top_->covers(site)) return below(links_.size(), site, x, base, options);
  return top_->linear(site, x, layer_below(links_.size(), site, base, options), options);
}

at::Tensor ChainHook::below(std::size_t n, std::uint32_t site, const at::Tensor& x,
                            const model::BaseLayer& base, const model::PassOptions& options) const {
  while (n > 0 && !links_[n - 1].hook->covers(site)) --n;
  if (n == 0 || !options.adapters_enabled) return base.forward(x);
  model::PassOptions frozen = options;
  frozen.is_training = false;
  return links_[n - 1].hook->linear(site, x, layer_below(n - 1, site, base, options), frozen);
}

model::BaseLayer ChainHook::layer_below(std::size_t n, std::uint32_t site, const model::BaseLayer& base,
                                        const model::PassOptions& options) const {
  while (n > 0 && !links_[n - 1].hook->covers(site)) --n;
  if (n == 0) return base;
  return {
      [this, n, site, &base, &options](const at::Tensor& in) { return below(n, site, in, base, options); },
      [this, n, site, &base] { return merged(n, site, base).first; },
      [this, n, site, &base] { return merged(n, site, base).second; }};
}

ChainHook::Merged ChainHook::merged(std::size_t n, std::uint32_t site, const model::BaseLayer& base) const {
  const at::Tensor bias = base.bias();
  const bool is_kept = !bias.defined() || !bias.requires_grad();
  const std::lock_guard lock(mutex_);
  if (const auto found = merged_.find({n, site}); is_kept && found != merged_.end()) return found->second;
  const at::NoGradGuard no_grad;
  Merged result{base.weight(), bias};
  const auto dtype = result.first.scalar_type();
  for (std::size_t i = 0; i < n; ++i) {
    const auto adapted = links_[i].hook->adapted();
    const auto own = std::find_if(adapted.begin(), adapted.end(),
                                  [&](const AdaptedSite* candidate) { return candidate->index == site; });
    if (own == adapted.end()) continue;
    auto [weight, changed] =
        merge_site(links_[i].strategy, **own, links_[i].hook->shared(), result.first, result.second);
    result.first = std::move(weight);
    if (changed.defined()) result.second = std::move(changed);
  }
  result.first = result.first.to(dtype);
  if (result.second.defined()) result.second = result.second.to(dtype);
  if (is_kept) merged_[{n, site}] = result;
  return result;
}

std::vector<at::Tensor> ChainHook::trained_tensors(std::uint32_t site) const {
  return top_ == nullptr ? std::vector<at::Tensor>() : top_->trained_tensors(site);
}

const at::Tensor* ChainHook::replacement(std::uint32_t param) const {
  const at::Tensor* copy = top_ == nullptr ? nullptr : top_->replacement(param);
  for (auto link = links_.rbegin(); copy == nullptr && link != links_.rend(); ++link)
    copy = link->hook->replacement(param);
  return copy;
}

}  // namespace graft::adapt
