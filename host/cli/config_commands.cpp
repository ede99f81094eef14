// SPDX-License-Identifier: Apache-2.0
// config reference: every key of a run's configuration.
#include <iostream>

#include "cli/commands.h"
#include "config/reference.h"

namespace graft::cli {

void add_config_commands(CLI::App& app) {
  CLI::App* config = app.add_subcommand("config", "The configuration of runs")->require_subcommand(1);
  config->add_subcommand("reference", "Prints every key with its meaning, default and range, as Markdown")
      ->callback([] { std::cout << config::reference_markdown(); });
}

}  // namespace graft::cli
