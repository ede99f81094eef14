// SPDX-License-Identifier: Apache-2.0
#include "adapt/targeting.h"

#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <utility>

#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

constexpr std::array<std::pair<std::int32_t, const char*>, 4> kComponents = {{
    {GRAFT_COMPONENT_LANGUAGE, "language"},
    {GRAFT_COMPONENT_VISION, "vision"},
    {GRAFT_COMPONENT_PROJECTOR, "projector"},
    {GRAFT_COMPONENT_HEAD, "head"},
}};

std::string component_list(const std::vector<std::int32_t>& components) {
  std::vector<std::string> names;
  for (const auto component : components) names.push_back(component_name(component));
  return support::join(names, ", ");
}

// What can be named: a linear site, or for strategies that train base parameters any module that holds one.
struct Module {
  std::string name;
  std::int32_t component;
};

using ModuleTest = std::function<bool(const Module&)>;

bool any_of(const std::vector<Module>& modules, const ModuleTest& test) {
  return std::any_of(modules.begin(), modules.end(), test);
}

// Last parts of the names, for suggestions.
std::vector<std::string> layer_names(const std::vector<Module>& modules, const ModuleTest& keep) {
  std::set<std::string> names;
  for (const auto& module : modules) {
    if (keep(module)) names.insert(module.name.substr(module.name.rfind('.') + 1));
  }
  return {names.begin(), names.end()};
}

// Fails for `what` ("\"q_prj\"" or "the expression …"), which targets nothing of the components.
[[noreturn]] void fail_no_match(const std::vector<Module>& modules, const TargetSpec& spec,
                                const std::string& what, const std::string& word, const ModuleTest& matches) {
  std::set<std::string> elsewhere;
  for (const auto& module : modules) {
    if (!spec.has_component(module.component) && matches(module))
      elsewhere.insert(component_name(module.component));
  }
  if (!elsewhere.empty()) {
    throw support::UserError(support::cat(
        "peft.target_modules: ", what, " matches no layer of peft.components (",
        component_list(spec.components), "), only layers of: ",
        support::join({elsewhere.begin(), elsewhere.end()}, ", "), "; add that component or drop the entry"));
  }
  const auto names =
      layer_names(modules, [&](const Module& module) { return spec.has_component(module.component); });
  throw support::UserError(support::cat(
      "peft.target_modules: ", what, " matches no layer of this model", support::did_you_mean(word, names),
      "; the layers of (", component_list(spec.components), ") are: ", support::join(names, ", ")));
}

void check_targets(const std::vector<Module>& modules, const TargetSpec& spec, const TargetMatcher& matcher) {
  if (spec.selects_all()) return;
  const auto require = [&](const ModuleTest& matches, const std::string& what, const std::string& word) {
    const bool found =
        any_of(modules, [&](const Module& m) { return spec.has_component(m.component) && matches(m); });
    if (!found) fail_no_match(modules, spec, what, word, matches);
  };
  if (!spec.pattern.empty()) {
    require([&](const Module& m) { return matcher.targets(m.name); },
            support::cat("the expression \"", spec.pattern, '"'), "");
    return;
  }
  for (const auto& entry : spec.names) {
    require([&](const Module& m) { return matches_entry(m.name, entry); }, support::cat('"', entry, '"'),
            entry);
  }
}

// An exclusion may match layers outside of the components, where it has no effect; matching nothing at all is
// a typo.
void check_exclusions(const std::vector<Module>& modules, const TargetSpec& spec,
                      const TargetMatcher& matcher) {
  if (!spec.exclude_pattern.empty()) {
    if (any_of(modules, [&](const Module& m) { return matcher.excludes(m.name); })) return;
    throw support::UserError(
        support::cat("peft.exclude_modules: the expression \"", spec.exclude_pattern,
                     "\" matches no layer of this model; a pattern must match whole names, such as \"",
                     modules.empty() ? "" : modules.front().name, '"'));
  }
  for (const auto& entry : spec.exclude_names) {
    if (any_of(modules, [&](const Module& m) { return matches_entry(m.name, entry); })) continue;
    const auto names = layer_names(modules, [](const Module&) { return true; });
    throw support::UserError(
        support::cat("peft.exclude_modules: \"", entry, "\" matches no layer of this model",
                     support::did_you_mean(entry, names), "; its layers are: ", support::join(names, ", ")));
  }
}

// Every number and every expression of the layers must hold something that is targeted.
void check_layers(const std::vector<Module>& modules, const TargetSpec& spec, const TargetMatcher& matcher) {
  if (spec.layers.empty()) return;
  TargetSpec everywhere = spec;
  everywhere.layers.clear();
  const TargetMatcher anywhere(everywhere);
  const LayerFilter filter(spec.layers, spec.layers_patterns);
  std::set<std::int64_t> numbers;
  std::set<std::string> lists;
  for (const auto& module : modules) {
    if (!spec.has_component(module.component) || !anywhere.targets(module.name)) continue;
    if (const auto number = filter.block(module.name)) numbers.insert(*number);
    if (auto list = block_list(module.name); !list.empty()) lists.insert(std::move(list));
  }
  const std::vector<std::string> list_names(lists.begin(), lists.end());
  for (const auto& pattern : spec.layers_patterns) {
    const LayerFilter one(spec.layers, {pattern});
    if (any_of(modules, [&](const Module& m) { return one.block(m.name).has_value(); })) continue;
    throw support::UserError(support::cat(
        "peft.layers_pattern: \"", pattern, "\" names no list of blocks of this model",
        support::did_you_mean(pattern, list_names), "; they are: ", support::join(list_names, ", ")));
  }
  for (const auto layer : spec.layers) {
    if (numbers.count(layer) > 0) continue;
    std::vector<std::string> known;
    for (const auto number : numbers) known.push_back(std::to_string(number));
    throw support::UserError(
        support::cat("peft.layers_to_transform: ", layer,
                     " is the number of no block that holds target modules; their numbers are: ",
                     support::join(known, ", ")));
  }
  for (const auto& entry : spec.names) {
    const bool is_found = any_of(modules, [&](const Module& m) {
      return spec.has_component(m.component) && matches_entry(m.name, entry) && matcher.targets(m.name);
    });
    if (!is_found) {
      throw support::UserError(
          support::cat("peft.target_modules: \"", entry,
                       "\" matches no layer in the blocks of peft.layers_to_transform; drop "
                       "it, or add a block that has one"));
    }
  }
}

void check(const std::vector<Module>& modules, const TargetSpec& spec, const TargetMatcher& matcher) {
  TargetSpec everywhere = spec;
  everywhere.layers.clear();
  check_targets(modules, everywhere, TargetMatcher(everywhere));
  check_layers(modules, spec, matcher);
  check_exclusions(modules, spec, matcher);
}

}  // namespace

bool TargetSpec::has_component(std::int32_t component) const {
  return std::find(components.begin(), components.end(), component) != components.end();
}

TargetMatcher::TargetMatcher(const TargetSpec& spec)
    : all_(spec.selects_all()),
      layers_(spec.layers, spec.layers_patterns),
      names_(spec.names),
      exclude_names_(spec.exclude_names) {
  if (!all_ && !spec.pattern.empty()) pattern_.emplace(spec.pattern, "peft.target_modules");
  if (!spec.exclude_pattern.empty()) exclude_pattern_.emplace(spec.exclude_pattern, "peft.exclude_modules");
}

bool TargetMatcher::targets(std::string_view module) const {
  if (all_) return layers_.passes(module);
  if (pattern_) return pattern_->matches(module) && layers_.passes(module);
  const auto fits = [&](const auto& entry) {
    return module == entry || (matches_entry(module, entry) && layers_.passes(module));
  };
  return std::any_of(names_.begin(), names_.end(), fits);
}

bool TargetMatcher::excludes(std::string_view module) const {
  if (exclude_pattern_) return exclude_pattern_->matches(module);
  return std::any_of(exclude_names_.begin(), exclude_names_.end(),
                     [&](const auto& entry) { return matches_entry(module, entry); });
}

bool matches_entry(std::string_view module, std::string_view entry) {
  if (!module.ends_with(entry)) return false;
  return module.size() == entry.size() || module[module.size() - entry.size() - 1] == '.';
}

Selection select_sites(const std::vector<model::Site>& sites, const TargetSpec& spec) {
  const TargetMatcher matcher(spec);
  std::vector<Module> modules;
  for (const auto& site : sites) modules.push_back({site.name, site.component});
  check(modules, spec, matcher);
  Selection selection;
  for (const auto& site : sites) {
    const bool is_spared = spec.selects_all() && site.component == GRAFT_COMPONENT_HEAD;
    selection.sites.push_back(spec.has_component(site.component) && !is_spared && matcher.selects(site.name));
  }
  return selection;
}

std::vector<bool> select_params(const std::vector<model::Param>& params, const TargetSpec& spec) {
  const TargetMatcher matcher(spec);
  std::vector<Module> modules;
  for (const auto& param : params) modules.push_back({module_of(param.name), param.component});
  check(modules, spec, matcher);
  std::vector<bool> selected(params.size(), false);
  for (std::size_t i = 0; i < params.size(); ++i) {
    if (!spec.has_component(params[i].component) || !matcher.selects(modules[i].name)) continue;
    selected[params[i].tied_to >= 0 ? static_cast<std::size_t>(params[i].tied_to) : i] = true;
  }
  return selected;
}

SavedModules select_modules_to_save(const std::vector<model::Param>& params,
                                    const std::vector<std::string>& entries) {
  SavedModules saved{std::vector<bool>(params.size(), false), {}};
  std::set<std::string> found, names, modules;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const std::string& name = params[i].name;
    modules.insert(module_of(name));
    // The outermost module that fits holds the others.
    for (auto dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
      const std::string module = name.substr(0, dot);
      const auto entry = std::find_if(entries.begin(), entries.end(),
                                      [&](const std::string& e) { return matches_entry(module, e); });
      if (entry == entries.end()) continue;
      found.insert(*entry);
      names.insert(module);
      saved.params[i] = true;
      break;
    }
  }
  for (const std::string& entry : entries) {
    if (found.count(entry) > 0) continue;
    const std::vector<std::string> known(modules.begin(), modules.end());
    throw support::UserError(
        support::cat("peft.modules_to_save: \"", entry, "\" names no module of this model",
                     support::did_you_mean(entry, known), "; expected a module's name or its end, such as \"",
                     known.empty() ? "" : known.back(), '"'));
  }
  saved.names.assign(names.begin(), names.end());
  return saved;
}

std::vector<bool> params_of_sites(const std::vector<model::Param>& params,
                                  const std::vector<model::Site>& sites, const std::vector<bool>& selected) {
  std::vector<bool> chosen(params.size(), false);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (!selected[i]) continue;
    chosen[static_cast<std::size_t>(sites[i].weight)] = true;
    if (sites[i].bias >= 0) chosen[static_cast<std::size_t>(sites[i].bias)] = true;
  }
  return chosen;
}

std::string module_of(const std::string& param_name) {
  const auto dot = param_name.rfind('.');
  return dot == std::string::npos ? std::string() : param_name.substr(0, dot);
}

std::int32_t component_code(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [code, word] : kComponents) {
    if (name == word) return code;
    names.emplace_back(word);
  }
  throw support::UserError(support::cat("peft.components: \"", name, "\" is no part of a model",
                                        support::did_you_mean(name, names),
                                        "; the parts are: ", support::join(names, ", ")));
}

std::string component_name(std::int32_t code) {
  for (const auto& [known, word] : kComponents) {
    if (known == code) return word;
  }
  return support::cat("component ", code);
}

}  // namespace graft::adapt
