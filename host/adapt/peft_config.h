// SPDX-License-Identifier: Apache-2.0
// adapter_config.json, the half of PEFT's format that all methods share.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/site_patterns.h"
#include "adapt/strategy_hook.h"
#include "adapt/targeting.h"

namespace graft::adapt {

// How to name layers so that PEFT adapts exactly those.
struct TargetModules {
  std::vector<std::string> names;  // sorted
  std::string exclude_pattern;     // empty: none needed
};

// `adapted` as a short list that selects it among `modules` (every module of the model that holds parameters,
// the adapted ones among them). Endings are preferred, with an exclusion of whole parts of the model where
// the endings would select more (longer endings if not `may_exclude`): the usual seven of Qwen2.5-VL also name
// layers of its vision encoder.
[[nodiscard]] TargetModules describe_targets(const std::vector<std::string>& adapted,
                                             const std::vector<std::string>& modules,
                                             bool may_exclude = true);

// The shortest endings that select `adapted` and nothing of `others`.
[[nodiscard]] std::vector<std::string> minimal_endings(const std::vector<std::string>& adapted,
                                                       const std::vector<std::string>& others);

// `own`, the strategy's fields, together with those that all methods share.
[[nodiscard]] nlohmann::json adapter_config(const nlohmann::json& own, const std::string& base_model,
                                            const TargetModules& targets);

// Reads `<directory>/adapter_config.json`, keys in written order. UserError if it is missing or no JSON object.
[[nodiscard]] nlohmann::ordered_json read_adapter_config(const std::filesystem::path& directory);

// The fields that all methods share.
struct SharedFields {
  TargetSpec targets;  // over all components
  std::vector<std::string> modules_to_save;
  SitePatterns rank_pattern, alpha_pattern;  // empty if those fields are of another form
};

// The shared fields of a file read from `directory`. UserError for one that is not offered, naming it.
[[nodiscard]] SharedFields shared_fields(const nlohmann::ordered_json& config,
                                         const std::filesystem::path& directory);

// rank_pattern and alpha_pattern for sites with values of their own: one entry for each, so that their order does not matter. Entries
// that the strategy wrote itself hold, as for PiSSA, whose files have twice the rank.
void write_patterns(nlohmann::json& config, const std::vector<const AdaptedSite*>& sites);

}  // namespace graft::adapt
