// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"

namespace graft::adapt {

// Which linear sites a strategy is offered. Names are matched as PEFT does: a list entry equals the site's name or is a
// suffix of it after a dot; a pattern must match the whole name (PCRE2, look-ahead allowed). Exclusions win. Sites outside of
// the components are never selected.
struct TargetSpec {
  bool all_linear = false;             // every linear site but the head
  std::string pattern;                 // a regular expression, if not empty
  std::vector<std::string> names;      // else a list
  std::string exclude_pattern;
  std::vector<std::string> exclude_names;
  std::vector<std::int32_t> components;  // GRAFT_COMPONENT_*
};

struct Selection {
  std::vector<bool> sites;  // by site index
};

// Throws UserError naming the entry of target_modules that matches no site of the components, with the nearest names.
[[nodiscard]] Selection select_sites(const std::vector<model::Site>& sites, const TargetSpec& spec);

// "language" -> GRAFT_COMPONENT_LANGUAGE; UserError for an unknown word.
[[nodiscard]] std::int32_t component_code(const std::string& name);
[[nodiscard]] std::string component_name(std::int32_t code);

}  // namespace graft::adapt
