// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "adapt/peft_config.h"
#include "plugin/registry.h"

namespace graft::adapt {

// What adapter_config.json says of strategies that PEFT does not know: enough for graft to load them again.
inline constexpr const char* kStrategyKey = "graft_strategy";
inline constexpr const char* kParamsKey = "graft_params";

// A PEFT directory read as far as its strategy's parameters.
struct StoredAdapter {
  std::string strategy;
  nlohmann::json params;
  SharedFields fields;
};

// Reads an adapter that must be of `strategy`, or of any one if that is empty. UserError with the reason of each strategy if
// none takes it.
[[nodiscard]] StoredAdapter read_adapter(plugin::Registry& registry, const std::filesystem::path& directory,
                                         const std::string& strategy);

// The file's parameters with the user's on top, each with a warning.
[[nodiscard]] nlohmann::json override_params(nlohmann::json stored, const nlohmann::json& given,
                                             const std::filesystem::path& directory);

}  // namespace graft::adapt
