// SPDX-License-Identifier: Apache-2.0
// adapter_config.json, the half of PEFT's format that all methods share.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/targeting.h"

namespace graft::adapt {

// How to name layers so that PEFT adapts exactly those.
struct TargetModules {
  std::vector<std::string> names;  // sorted
  std::string exclude_pattern;     // empty: none needed
};

// `adapted` as a short list that selects it among `modules` (every module of the model that holds parameters,
// the adapted ones among them). Endings are preferred, with an exclusion of whole parts of the model where
// the endings would select more: the usual seven of Qwen2.5-VL also name layers of its vision encoder.
[[nodiscard]] TargetModules describe_targets(const std::vector<std::string>& adapted,
                                             const std::vector<std::string>& modules);

// The shortest endings that select `adapted` and nothing of `others`.
[[nodiscard]] std::vector<std::string> minimal_endings(const std::vector<std::string>& adapted,
                                                       const std::vector<std::string>& others);

// `own`, the strategy's fields, together with those that all methods share.
[[nodiscard]] nlohmann::json adapter_config(const nlohmann::json& own, const std::string& base_model,
                                            const TargetModules& targets);

// Reads `<directory>/adapter_config.json`. UserError if it is missing or no JSON object.
[[nodiscard]] nlohmann::json read_adapter_config(const std::filesystem::path& directory);

// Target and exclusion fields of a file read from `directory`, over all components. UserError for a shared
// option that is not offered (layers_to_transform, modules_to_save), naming it.
[[nodiscard]] TargetSpec target_spec(const nlohmann::json& config, const std::filesystem::path& directory);

}  // namespace graft::adapt
