// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <graft/peft.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapt/strategy.h"
#include "model/hooks.h"
#include "model/model.h"

namespace graft::adapt {

// A site with a strategy's parameters on it.
struct AdaptedSite {
  std::string name;
  std::string who;  // for messages
  std::uint32_t index;
  graft_site view;                    // borrows `name`
  std::vector<at::Tensor> params;     // in the order of plan_site()
  std::vector<graft_tensor> handles;  // of params
};

// The model's linear layers with a strategy applied, and the base parameters that it trains copies of. linear() runs on any
// thread; recompute nodes keep the hook alive.
class StrategyHook : public model::LinearHook {
 public:
  StrategyHook(const Strategy& strategy, const std::vector<model::Site>& sites);

  // Control thread, before the first pass. `params` in the order of plan_site(), `shared` in that of plan_model().
  void adapt_site(std::uint32_t site, const SiteOverrides& overrides, std::vector<at::Tensor> params);
  void share(std::vector<at::Tensor> shared);
  // `copy` is used instead of base parameter `param` while adapters are on.
  void replace(std::uint32_t param, at::Tensor copy);

  [[nodiscard]] std::vector<const AdaptedSite*> adapted() const;
  [[nodiscard]] const std::vector<at::Tensor>& shared() const { return shared_; }

  [[nodiscard]] bool covers(std::uint32_t site) const override;
  at::Tensor linear(std::uint32_t site, const at::Tensor& x, const model::BaseLayer& base,
                    const model::PassOptions& options) override;
  [[nodiscard]] std::vector<at::Tensor> trained_tensors(std::uint32_t site) const override;
  [[nodiscard]] const at::Tensor* replacement(std::uint32_t param) const override;

 private:
  std::vector<std::unique_ptr<AdaptedSite>> sites_;  // by site index, null if not adapted
  std::vector<model::Site> declared_;
  std::vector<at::Tensor> shared_;
  std::vector<graft_tensor> shared_handles_;
  std::map<std::uint32_t, at::Tensor> copies_;  // by parameter index
  std::string strategy_;
  std::shared_ptr<plugin::Instance> instance_;
  const graft_peft* table_;
};

}  // namespace graft::adapt
