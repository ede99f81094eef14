// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "cli/commands.h"
#include "support/error.h"
#include "support/log.h"

namespace graft::cli {

namespace {

int report(const std::string& message, int exit_code) {
  support::log_error(message);
  return exit_code;
}

// LibTorch reports an allocation that failed as an ordinary error.
bool is_out_of_memory(const std::string& message) {
  return message.find("not enough memory") != std::string::npos ||
         message.find("out of memory") != std::string::npos;
}

}  // namespace

int run(int argc, char** argv) {
  CLI::App app(
      "graft fine-tunes vision-language models with reinforcement learning (GRPO) and PEFT; model families, "
      "PEFT strategies, checkpoint policies and rewards are plugins",
      "graft");
  app.set_version_flag("--version", std::string("graft ") + GRAFT_VERSION);
  app.require_subcommand(1);
  std::string log_level = "info";
  app.add_option("--log", log_level, "debug, info, warn, error or off")->capture_default_str();
  app.parse_complete_callback([&] { support::set_log_level(support::parse_log_level(log_level)); });
  add_run_commands(app);
  add_plan_command(app);
  add_stream_commands(app);
  add_plugin_commands(app);
  add_data_commands(app);
  add_config_commands(app);
  add_report_commands(app);
  add_adapter_commands(app);
  add_doctor_commands(app);
  add_worker_command(app);
  try {
    app.parse(argc, argv);
    return support::kExitDone;
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : (app.exit(error), support::kExitUser);
  } catch (const support::Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return report(
        "out of memory; lower train.micro_prompts, rollout.num_generations or model.max_pixels, or choose "
        "the checkpoint policy \"full\"",
        support::kExitMemory);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    if (is_out_of_memory(message)) return report(message, support::kExitMemory);
    return report("internal error, please report it: " + message, support::kExitInternal);
  }
}

}  // namespace graft::cli
