// SPDX-License-Identifier: Apache-2.0
#include "adapt/calibration.h"

#include <ATen/core/grad_mode.h>
#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

using support::cat;

// Shows the strategy every input of the selected layers, which compute as if it were not there.
class ObservingHook : public model::LinearHook {
 public:
  ObservingHook(const Strategy& strategy, std::vector<SelectedSite> sites,
                std::vector<std::optional<std::uint32_t>> places)
      : strategy_(strategy), sites_(std::move(sites)), places_(std::move(places)) {}

  void begin(std::int64_t pass, at::Tensor answer_rows) {
    pass_ = pass;
    answer_rows_ = std::move(answer_rows);
  }

  [[nodiscard]] bool covers(std::uint32_t site) const override { return places_[site].has_value(); }
  at::Tensor linear(std::uint32_t site, const at::Tensor& x, const model::BaseLayer& base,
                    const model::PassOptions& /*options*/) override {
    const std::uint32_t place = *places_[site];
    const SelectedSite& selected = sites_[place];
    const bool is_decoder = selected.site->component == GRAFT_COMPONENT_LANGUAGE ||
                            selected.site->component == GRAFT_COMPONENT_HEAD;
    strategy_.observe({selected, place, pass_, x.detach(), is_decoder ? answer_rows_ : at::Tensor()});
    return base.forward(x);
  }
  [[nodiscard]] std::vector<at::Tensor> trained_tensors(std::uint32_t /*site*/) const override { return {}; }

 private:
  const Strategy& strategy_;
  std::vector<SelectedSite> sites_;
  std::vector<std::optional<std::uint32_t>> places_;  // in sites_, by index of the model's sites
  std::int64_t pass_ = 0;
  at::Tensor answer_rows_;
};

// Unhooks, whatever happens.
class HookScope {
 public:
  HookScope(model::Model& model, std::shared_ptr<model::LinearHook> hook) : model_(model) {
    model_.set_linear_hook(std::move(hook));
  }
  ~HookScope() { model_.set_linear_hook(nullptr); }
  HookScope(const HookScope&) = delete;
  HookScope& operator=(const HookScope&) = delete;

 private:
  model::Model& model_;
};

void tell(std::int64_t passes, const std::vector<Allotment>& allotments) {
  std::set<std::int64_t> ranks;
  for (const Allotment& site : allotments) {
    if (!site.is_dropped && site.rank > 0) ranks.insert(site.rank);
  }
  const auto dropped =
      std::count_if(allotments.begin(), allotments.end(), [](const auto& a) { return a.is_dropped; });
  support::log_info(cat("calibration: ", passes, passes == 1 ? " pass" : " passes", " over training data",
                        ranks.empty() ? "" : cat(", ranks from ", *ranks.begin(), " to ", *ranks.rbegin()),
                        dropped > 0 ? cat(", ", dropped, " layers left out") : ""));
}

}  // namespace

bool calibrate(model::Model& model, const Strategy& strategy, const BaseAdapters& base,
               const CalibrationData* data, std::vector<bool>& selected,
               std::vector<SiteOverrides>& overrides) {
  std::vector<SelectedSite> sites;
  std::vector<std::size_t> indices;
  std::vector<std::optional<std::uint32_t>> places(model.sites().size());
  for (std::size_t i = 0; i < model.sites().size(); ++i) {
    if (!selected[i]) continue;
    places[i] = static_cast<std::uint32_t>(sites.size());
    sites.push_back({&model.sites()[i], overrides[i]});
    indices.push_back(i);
  }
  if (!strategy.calibrate(sites)) return false;
  if (data == nullptr || !data->pass || data->most_passes < 1) {
    throw NeedsCalibration(
        cat("peft.strategy=", strategy.name(), " with ", strategy.params().dump(),
            " starts from what its layers are given by training data, of which there is none here; "
            "graft train and graft sft have it"));
  }
  const bool with_head = places[model.head_site()].has_value();
  const auto hook = std::make_shared<ObservingHook>(strategy, sites, std::move(places));
  const HookScope scope(model, base.chain(hook));
  const at::NoGradGuard no_grad;
  std::vector<Allotment> allotments;
  std::int64_t passes = 0;
  for (bool is_done = false; !is_done && passes < data->most_passes; ++passes) {
    const CalibrationPass pass = data->pass(passes);
    hook->begin(passes, pass.answer_rows);
    pass.run(with_head);
    is_done = strategy.allot(sites, allotments);
    if (!is_done && passes + 1 == data->most_passes) {
      support::log_warn(cat("peft.strategy=", strategy.name(), " asked for more than the ", data->most_passes,
                            " passes of peft.calibration_passes; it starts from what it has seen"));
    }
  }
  for (std::size_t i = 0; i < allotments.size(); ++i) {
    const Allotment& site = allotments[i];
    if (site.rank > 0) overrides[indices[i]].rank = site.rank;
    if (site.alpha > 0.0) overrides[indices[i]].alpha = site.alpha;
    if (site.is_dropped) selected[indices[i]] = false;
  }
  tell(passes, allotments);
  return true;
}

}  // namespace graft::adapt
