// SPDX-License-Identifier: Apache-2.0
// Commands whose arguments are a run's configuration.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace graft::cli {

// Adds a subcommand of `app` whose arguments all belong to the configuration, so that `key=value`, the familiar flags and their errors
// are the same everywhere; `body` takes them. `parents` stands between "graft" and the name in its help: "doctor ".
void add_config_command(CLI::App& app, const char* name, const char* description, config::Command command,
                        const std::function<void(std::vector<std::string>)>& body, const char* parents = "");

// The configuration that the arguments give, `--config FILE` among them.
[[nodiscard]] config::LoadedConfig load_config(std::vector<std::string> args, config::Command command);

// Values of a repeatable option of the command's own, taken out of the arguments.
[[nodiscard]] std::vector<std::string> take_values(std::vector<std::string>& args, const std::string& option);
// Whether a switch of the command's own was given; takes it out.
[[nodiscard]] bool take_switch(std::vector<std::string>& args, const std::string& option);

}  // namespace graft::cli
