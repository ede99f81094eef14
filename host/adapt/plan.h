// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/base_adapters.h"
#include "adapt/calibration.h"
#include "adapt/strategy.h"
#include "adapt/strategy_hook.h"
#include "adapt/targeting.h"
#include "model/model.h"

namespace graft::adapt {

// What a strategy made of a selection.
struct Plan {
  std::vector<AdapterTensor> tensors;  // allocated, initialised, requires_grad set
  std::vector<std::uint32_t> sites;    // adapted ones, ascending
  std::shared_ptr<StrategyHook> hook;  // null if no site is adapted
  bool trains_base = false;            // base parameters themselves, not copies
};

// Names under which published files may know each site: its own, then those of its weight's aliases.
[[nodiscard]] std::vector<std::vector<std::string>> site_names(const std::vector<model::Site>& sites,
                                                               const std::vector<model::Param>& params);

// The selection of a file's target_modules: a site is selected if any of its names is targeted and none is
// excluded.
[[nodiscard]] std::vector<bool> select_by_names(const std::vector<model::Site>& sites,
                                                const std::vector<std::vector<std::string>>& names,
                                                const TargetSpec& spec);

// Which parts of the model a strategy is asked about.
struct PlanInput {
  const std::vector<model::Site>& sites;
  std::vector<model::Param>& params;
  std::vector<bool> selected_sites;  // by index
  std::vector<bool>
      selected_params;  // by index: what a strategy that trains base parameters is told is selected
  std::vector<bool> saved_params;        // by index: copies of these are trained whatever the strategy says
  std::vector<SiteOverrides> overrides;  // by site
  std::uint64_t seed = 0;
  const BaseAdapters* base = nullptr;            // beneath it; null or empty: none
  bool may_calibrate = false;                    // a fresh adapter, whose strategy may look at training data
  const CalibrationData* calibration = nullptr;  // null: no such data
  std::filesystem::path calibrated = {};         // what an earlier calibration led to; empty: none did
};

// Asks the strategy about every selected site and every base parameter, allocates, initialises, and sets requires_grad of
// all base parameters. Throws UserError if nothing is trained.
[[nodiscard]] Plan make_plan(const Strategy& strategy, const PlanInput& input);

// The table of Adapter::summary().
[[nodiscard]] std::string summarize(const Strategy& strategy, const Plan& plan,
                                    const std::vector<model::Site>& sites,
                                    const std::vector<model::Param>& params);

}  // namespace graft::adapt
