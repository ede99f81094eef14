// SPDX-License-Identifier: Apache-2.0
#include "adapt/stored_adapter.h"

#include <graft/plugin.h>

#include <utility>
#include <vector>

#include "adapt/strategy.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

std::string refusals(const std::filesystem::path& directory, const std::string& text) {
  return support::cat(directory / "adapter_config.json", " cannot be used: ", text);
}

}  // namespace

StoredAdapter read_adapter(plugin::Registry& registry, const std::filesystem::path& directory,
                           const std::string& strategy) {
  const auto config = read_adapter_config(directory);
  StoredAdapter stored;
  stored.fields = shared_fields(config, directory);
  const auto own = config.find(kStrategyKey);
  if (own != config.end() && own->is_string()) {
    stored.strategy = own->get<std::string>();
    stored.params = config.value(kParamsKey, nlohmann::json::object());
    if (strategy.empty() || strategy == stored.strategy) return stored;
    throw support::UserError(refusals(
        directory,
        support::cat("it was made by the strategy \"", stored.strategy, "\", but peft.strategy=", strategy)));
  }
  const auto text = config.dump();
  std::vector<std::string> reasons;
  const auto candidates = strategy.empty() ? registry.list(GRAFT_KIND_PEFT)
                                           : std::vector{registry.find(GRAFT_KIND_PEFT, strategy)};
  for (const auto& component : candidates) {
    std::string refusal;
    if (auto params = import_config(component, text, &refusal)) {
      stored.strategy = component.name;
      stored.params = std::move(*params);
      return stored;
    }
    reasons.push_back(support::cat("strategy \"", component.name, "\": ", refusal));
  }
  throw support::UserError(
      refusals(directory, reasons.empty() ? "there is no PEFT strategy" : support::join(reasons, "; ")));
}

nlohmann::json override_params(nlohmann::json stored, const nlohmann::json& given,
                               const std::filesystem::path& directory) {
  for (const auto& [key, value] : given.items()) {
    if (stored.contains(key) && stored[key] != value) {
      support::log_warn(support::cat("peft.params.", key, "=", value.dump(), " is used instead of ",
                                     stored[key].dump(), ", which ", directory, " was trained with"));
    }
    stored[key] = value;
  }
  return stored;
}

}  // namespace graft::adapt
