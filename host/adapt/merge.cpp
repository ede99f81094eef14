// SPDX-License-Identifier: Apache-2.0
#include "adapt/merge.h"

#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "adapt/values_view.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

// Trained copies take the place of their parameters.
void put_copies(const model::Model& model, const Plan& plan, MergedParams& merged) {
  for (const auto& tensor : plan.tensors) {
    if (!tensor.is_copy) continue;
    for (std::uint32_t i = 0; i < model.params().size(); ++i) {
      if (model.params()[i].name != tensor.name) continue;
      if (!merged.emplace(i, tensor.tensor.detach()).second) {
        throw support::UserError(support::cat("two of the adapters change ", tensor.name,
                                              ", one of them by a copy; they cannot be merged together"));
      }
    }
  }
}

}  // namespace

at::Tensor merged_or_dense(const model::Model& model, const MergedParams& merged, std::int32_t param) {
  if (param < 0) return {};
  const auto found = merged.find(static_cast<std::uint32_t>(param));
  return found == merged.end() ? model.params()[static_cast<std::size_t>(param)].dense(at::kFloat)
                               : found->second;
}

std::pair<at::Tensor, at::Tensor> merge_site(const Strategy& strategy, const AdaptedSite& site,
                                             const std::vector<at::Tensor>& shared, const at::Tensor& weight,
                                             const at::Tensor& bias) {
  const Float32Site values(site, shared, weight, bias);
  return strategy.merge(values.raw());
}

void merge_into(const model::Model& model, const Strategy& strategy, const Plan& plan, MergedParams& merged) {
  put_copies(model, plan, merged);
  if (!plan.hook) return;
  const auto current = [&](std::int32_t param) { return merged_or_dense(model, merged, param); };
  for (const AdaptedSite* site : plan.hook->adapted()) {
    const model::Site& layer = model.sites()[site->index];
    auto [weight, bias] =
        merge_site(strategy, *site, plan.hook->shared(), current(layer.weight), current(layer.bias));
    if (bias.defined() && layer.bias < 0) {
      throw support::UserError(support::cat("the adapter adds a bias to ", layer.name,
                                            ", which has none to merge it into; use the adapter as it is"));
    }
    merged[static_cast<std::uint32_t>(layer.weight)] = std::move(weight);
    if (bias.defined()) merged[static_cast<std::uint32_t>(layer.bias)] = std::move(bias);
  }
}

}  // namespace graft::adapt
