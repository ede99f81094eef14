// SPDX-License-Identifier: Apache-2.0
// One reward, wherever it runs: in this process, or in one of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rewards/rewards.h"

namespace graft::rewards {

// What a reward declares of itself.
struct RewardDescription {
  std::vector<std::string> score_names;  // of each score of an item
  double minimum = 0.0, maximum = 0.0;   // of each score; may be infinite
  Contract contract;
  bool is_batch_dependent = false;  // a score depends on the other items of the batch
};

// What a reward says of a batch, before it is checked.
struct RawScores {
  std::vector<double> values;  // [item, score]
  std::vector<std::int32_t> statuses;
  std::vector<std::string> reasons;
  std::vector<std::optional<Observation>> observations;  // empty unless asked for
  std::string failure;                                   // of the whole call; empty if it succeeded
};

class Scorer {
 public:
  Scorer() = default;
  virtual ~Scorer() = default;
  Scorer(const Scorer&) = delete;
  Scorer& operator=(const Scorer&) = delete;

  [[nodiscard]] virtual const RewardDescription& description() const = 0;
  // The parameters that it runs with, defaults included.
  [[nodiscard]] virtual const nlohmann::json& params() const = 0;
  // Never throws for what the reward does wrong.
  [[nodiscard]] virtual RawScores score(std::span<const Item> items, std::uint64_t step, bool observe) = 0;
};

// A reward plugin in this process. `where` names its parameters in errors. UserError/PluginError.
[[nodiscard]] std::unique_ptr<Scorer> open_plugin_reward(plugin::Registry& registry, const RewardSpec& spec,
                                                         const std::string& where);

// A reward plugin (spec.isolate), or a Python function ("python:FILE.py:FUNCTION"), in a process of its own, which is started
// again if it ends or takes too long.
[[nodiscard]] std::unique_ptr<Scorer> open_process_reward(plugin::Registry& registry, const RewardSpec& spec,
                                                          const std::string& where);

[[nodiscard]] bool is_python_reward(const std::string& name);

}  // namespace graft::rewards
