// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapt/layer_filter.h"
#include "adapt/module_pattern.h"
#include "model/model.h"

namespace graft::adapt {

// Which linear sites a strategy is offered. Names are matched as PEFT does: a list entry equals the site's
// name or is a suffix of it after a dot; a pattern must match the whole name (PCRE2, look-ahead allowed).
// Exclusions win. Sites outside of the components are never selected.
struct TargetSpec {
  bool all_linear = false;         // every linear site but the head; so does a spec without pattern and names
  std::string pattern;             // a regular expression, if not empty
  std::vector<std::string> names;  // else a list
  std::string exclude_pattern;
  std::vector<std::string> exclude_names;
  // Of numbered blocks only these, see LayerFilter; whole names in `names` are not affected, as in PEFT.
  std::vector<std::int64_t> layers;
  std::vector<std::string> layers_patterns;
  std::vector<std::int32_t> components;  // GRAFT_COMPONENT_*

  [[nodiscard]] bool selects_all() const { return all_linear || (pattern.empty() && names.empty()); }
  [[nodiscard]] bool has_component(std::int32_t component) const;
};

// The names and patterns of a TargetSpec, compiled; components are not its business. Const functions are
// thread-safe.
class TargetMatcher {
 public:
  explicit TargetMatcher(const TargetSpec& spec);  // UserError for a malformed expression

  // Exclusions aside; true for every module of the layers if the spec selects all.
  [[nodiscard]] bool targets(std::string_view module) const;
  [[nodiscard]] bool excludes(std::string_view module) const;
  [[nodiscard]] bool selects(std::string_view module) const { return targets(module) && !excludes(module); }

 private:
  bool all_;
  LayerFilter layers_;
  std::vector<std::string> names_, exclude_names_;
  std::optional<ModulePattern> pattern_, exclude_pattern_;
};

// PEFT's rule for one entry of a list: `module` is `entry`, or ends with it after a dot.
[[nodiscard]] bool matches_entry(std::string_view module, std::string_view entry);

struct Selection {
  std::vector<bool> sites;  // by site index
};

// Throws UserError naming the entry of target_modules, layers_to_transform or layers_pattern that matches no site of the
// components, or the exclusion that matches no site at all, with the nearest names.
[[nodiscard]] Selection select_sites(const std::vector<model::Site>& sites, const TargetSpec& spec);

// Base parameters covered by the spec, by parameter index: the component is listed, and the module that holds
// the parameter is targeted (all modules if the spec selects all) and not excluded. A tied parameter selects
// its owner. Errors as above, over the modules that hold parameters.
[[nodiscard]] std::vector<bool> select_params(const std::vector<model::Param>& params,
                                              const TargetSpec& spec);

struct SavedModules {
  std::vector<bool> params;        // the parameters that the modules hold, by index
  std::vector<std::string> names;  // whole names of the modules, sorted
};

// The modules that an entry names or ends, with everything in them. UserError for an entry that names none.
[[nodiscard]] SavedModules select_modules_to_save(const std::vector<model::Param>& params,
                                                  const std::vector<std::string>& entries);

// Weights and biases of the selected sites, by parameter index.
[[nodiscard]] std::vector<bool> params_of_sites(const std::vector<model::Param>& params,
                                                const std::vector<model::Site>& sites,
                                                const std::vector<bool>& selected);

// "model.norm" of "model.norm.weight".
[[nodiscard]] std::string module_of(const std::string& param_name);

// "language" -> GRAFT_COMPONENT_LANGUAGE; UserError for an unknown word.
[[nodiscard]] std::int32_t component_code(const std::string& name);
[[nodiscard]] std::string component_name(std::int32_t code);

}  // namespace graft::adapt
