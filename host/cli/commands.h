// SPDX-License-Identifier: Apache-2.0
// The subcommands; each adds itself to the command line and runs when it was named there.
#pragma once

#include <CLI/App.hpp>

namespace graft::cli {

void add_run_commands(CLI::App& app);      // train, sft, eval, generate
void add_plan_command(CLI::App& app);      // plan
void add_stream_commands(CLI::App& app);   // tokenize, logprobs, score: JSONL in, JSONL out
void add_plugin_commands(CLI::App& app);   // plugins list | show | check
void add_data_commands(CLI::App& app);     // data shapes
void add_config_commands(CLI::App& app);   // config reference
void add_report_commands(CLI::App& app);   // report compare | boxes
void add_worker_command(CLI::App& app);    // reward-worker: what an isolated reward runs in
void add_doctor_commands(CLI::App& app);   // doctor grads | rewards | run | rules
void add_adapter_commands(CLI::App& app);  // adapter info | convert, merge

}  // namespace graft::cli
