// SPDX-License-Identifier: Apache-2.0
#include "adapt/adapter_state.h"

#include <ATen/core/grad_mode.h>

#include <map>
#include <set>

#include "adapt/calibration.h"
#include "adapt/peft_config.h"
#include "adapt/peft_tensors.h"
#include "adapt/stored_adapter.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {

void Attachment::attach(PlanInput input) {
  SavedModules saved = select_modules_to_save(model.params(), modules_to_save);
  input.saved_params = std::move(saved.params);
  if (!strategy.adapts_sites() && !modules_to_save.empty()) {
    throw support::UserError(support::cat("peft.modules_to_save has no effect with peft.strategy=",
                                          strategy.name(), ", which trains the model's own weights"));
  }
  modules_to_save = std::move(saved.names);
  for (std::size_t i = 0; i < model.sites().size(); ++i) {  // a copy needs no adapter
    if (input.saved_params[static_cast<std::size_t>(model.sites()[i].weight)])
      input.selected_sites[i] = false;
  }
  if (input.selected_params.empty()) input.selected_params.assign(model.params().size(), false);
  const auto names = site_names(model.sites(), model.params());
  require_used(ranks, strategy.takes_rank(), "peft.rank_pattern", names, input.selected_sites);
  require_used(alphas, strategy.takes_alpha(), "peft.alpha_pattern", names, input.selected_sites);
  for (const auto& site : names) {
    input.overrides.push_back({static_cast<std::int64_t>(ranks.value(site)), alphas.value(site)});
  }
  if (input.may_calibrate) calibrate(input);
  plan = make_plan(strategy, input);
}

void Attachment::calibrate(PlanInput& input) {
  static const BaseAdapters kNone;
  const BaseAdapters& base = input.base == nullptr ? kNone : *input.base;
  if (input.calibrated.empty()) {
    is_calibrated =
        adapt::calibrate(model, strategy, base, input.calibration, input.selected_sites, input.overrides);
    return;
  }
  std::vector<SelectedSite> sites;
  for (std::size_t i = 0; i < model.sites().size(); ++i) {
    if (input.selected_sites[i]) sites.push_back({&model.sites()[i], input.overrides[i]});
  }
  is_calibrated = strategy.calibrate(sites);
  if (!is_calibrated) return;
  const SharedFields fields = shared_fields(read_adapter_config(input.calibrated), input.calibrated);
  const auto names = site_names(model.sites(), model.params());
  input.selected_sites = select_by_names(model.sites(), names, fields.targets);
  for (std::size_t i = 0; i < names.size(); ++i) {
    input.overrides[i] = {static_cast<std::int64_t>(fields.rank_pattern.value(names[i])),
                          fields.alpha_pattern.value(names[i])};
  }
}

// A pattern that the strategy ignores, or that fits no selected site, would have no effect.
void Attachment::require_used(const SitePatterns& patterns, bool is_taken, const char* key,
                              const std::vector<std::vector<std::string>>& names,
                              const std::vector<bool>& selected) const {
  if (patterns.empty()) return;
  if (!is_taken) {
    throw support::UserError(support::cat(key, " has no effect with peft.strategy=", strategy.name(),
                                          ", which has no such value for each layer; leave it out"));
  }
  std::vector<std::vector<std::string>> adapted;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (selected[i]) adapted.push_back(names[i]);
  }
  const auto unused = patterns.unused(adapted);
  if (unused.empty()) return;
  std::set<std::string> ends;
  for (const auto& site : adapted) ends.insert(site.front().substr(site.front().rfind('.') + 1));
  const std::vector<std::string> known(ends.begin(), ends.end());
  throw support::UserError(support::cat(key, ": \"", unused.front(), "\" fits none of the adapted layers",
                                        support::did_you_mean(unused.front(), known),
                                        "; expected an expression for the end of a layer's name, such as ",
                                        adapted.empty() ? "q_proj" : adapted.front().front(),
                                        " (their ends: ", support::join(known, ", "), ")"));
}

void Attachment::load(const std::filesystem::path& directory) {
  const auto names = site_names(model.sites(), model.params());
  if (plan.hook && strategy.reads_tensors()) {
    const at::NoGradGuard no_grad;
    const ModelView values = view();
    std::map<std::size_t, const graft_peft_values*> of_site;
    for (std::size_t i = 0; i < plan.sites.size(); ++i) of_site[plan.sites[i]] = values.raw().sites[i];
    read_adapter_tensors(directory, plan.tensors, model.sites(), names,
                         [&](std::size_t site, const model::NamedTensors& stored) {
                           strategy.import_tensors(*of_site.at(site), stored);
                         });
  } else {
    read_adapter_tensors(directory, plan.tensors, model.sites(), names);
  }
  is_warm = true;
}

std::unique_ptr<Attachment> attach_stored(model::Model& model, plugin::Registry& registry,
                                          const AttachOptions& options, const BaseAdapters& base) {
  auto stored = read_adapter(registry, options.adapter, options.strategy);
  const auto params = override_params(stored.params, options.params, options.adapter);
  auto own = std::make_unique<Attachment>(model, Strategy(registry, stored.strategy, params));
  own->modules_to_save = stored.fields.modules_to_save;
  if (own->strategy.takes_rank()) own->ranks = stored.fields.rank_pattern;
  if (own->strategy.takes_alpha()) own->alphas = stored.fields.alpha_pattern;
  PlanInput input{model.sites(), model.params(), {}, {}, {}, {}, options.seed, &base};
  input.selected_sites =
      select_by_names(model.sites(), site_names(model.sites(), model.params()), stored.fields.targets);
  if (own->strategy.trains_base()) {
    input.selected_params = params_of_sites(model.params(), model.sites(), input.selected_sites);
  }
  own->attach(std::move(input));
  own->load(options.adapter);
  return own;
}

}  // namespace graft::adapt
