// SPDX-License-Identifier: Apache-2.0
// Overrides and flags: `optimizer.learning_rate=1e-5`, `--optimizer.learning_rate 1e-5`, `--learning_rate
// 1e-5`, and the flags of TRL and VLM-R1 that are more than a renamed key (`--use_peft true`,
// `--per_device_train_batch_size 8`, …).
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace graft::config {

// Removes `--config FILE` (or `--config=FILE`) from the arguments and returns FILE. UserError if it is given
// twice.
[[nodiscard]] std::optional<std::string> take_config_flag(std::vector<std::string>& args);

// Applies arguments to `target`, the configuration as written so far (no defaults filled in), one after the
// other. `origins` receives the argument behind each key that was set, for messages. Throws UserError for
// unknown keys and flags, missing values, and flags that have no effect on the command or with the chosen
// strategy.
void apply_command_line(const std::vector<std::string>& args, Command command, nlohmann::json& target,
                        std::map<std::string, std::string>& origins);

}  // namespace graft::config
