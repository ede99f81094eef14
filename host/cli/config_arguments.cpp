// SPDX-License-Identifier: Apache-2.0
#include "cli/config_arguments.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "config/command_line.h"
#include "config/reference.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::cli {

void add_config_command(CLI::App& app, const char* name, const char* description, config::Command command,
                        const std::function<void(std::vector<std::string>)>& body, const char* parents) {
  CLI::App* sub = app.add_subcommand(name, description)->prefix_command();
  sub->set_help_flag();
  sub->callback([sub, name, description, command, body, parents] {
    std::vector<std::string> args = sub->remaining();
    if (std::find(args.begin(), args.end(), "--help") != args.end() ||
        std::find(args.begin(), args.end(), "-h") != args.end()) {
      std::cout << description << "\n\nusage: graft " << parents << name
                << " [--config FILE] [section.key=value …] [--flag value …]\n\n"
                << config::help_text(command);
      return;
    }
    body(std::move(args));
  });
}

config::LoadedConfig load_config(std::vector<std::string> args, config::Command command) {
  const auto file = config::take_config_flag(args);
  return config::load_run_config(file, args, command);
}

std::vector<std::string> take_values(std::vector<std::string>& args, const std::string& option) {
  std::vector<std::string> values;
  for (auto at = std::find(args.begin(), args.end(), option); at != args.end();
       at = std::find(args.begin(), args.end(), option)) {
    if (at + 1 == args.end()) throw support::UserError(support::cat(option, " needs a value"));
    values.push_back(*(at + 1));
    args.erase(at, at + 2);
  }
  return values;
}

bool take_switch(std::vector<std::string>& args, const std::string& option) {
  const auto end = std::remove(args.begin(), args.end(), option);
  const bool is_given = end != args.end();
  args.erase(end, args.end());
  return is_given;
}

}  // namespace graft::cli
