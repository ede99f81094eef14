// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "adapt/strategy.h"
#include "adapt/strategy_hook.h"
#include "model/hooks.h"

namespace graft::adapt {

// One of the frozen adapters of a ChainHook.
struct ChainLink {
  Strategy strategy;
  std::shared_ptr<StrategyHook> hook;
};

// Frozen adapters, first to last, and perhaps a trained one above them: the base layer of each is the one below. Those below run
// without dropout. linear() runs on any thread.
class ChainHook : public model::LinearHook {
 public:
  // `top` may be null.
  ChainHook(std::vector<ChainLink> links, std::shared_ptr<model::LinearHook> top);

  [[nodiscard]] bool covers(std::uint32_t site) const override;
  at::Tensor linear(std::uint32_t site, const at::Tensor& x, const model::BaseLayer& base,
                    const model::PassOptions& options) override;
  [[nodiscard]] std::vector<at::Tensor> trained_tensors(std::uint32_t site) const override;
  [[nodiscard]] const at::Tensor* replacement(std::uint32_t param) const override;

 private:
  using Merged = std::pair<at::Tensor, at::Tensor>;  // weight and bias
  // The layer with the first `n` links.
  [[nodiscard]] at::Tensor below(std::size_t n, std::uint32_t site, const at::Tensor& x,
                                 const model::BaseLayer& base, const model::PassOptions& options) const;
  [[nodiscard]] model::BaseLayer layer_below(std::size_t n, std::uint32_t site, const model::BaseLayer& base,
                                             const model::PassOptions& options) const;
  // Weight and bias of the layer with the first `n` links, in the dtype of the base; kept from the first call on, unless the
  // bias is trained.
  [[nodiscard]] Merged merged(std::size_t n, std::uint32_t site, const model::BaseLayer& base) const;

  std::vector<ChainLink> links_;
  std::shared_ptr<model::LinearHook> top_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<std::size_t, std::uint32_t>, Merged> merged_;
};

}  // namespace graft::adapt
