// SPDX-License-Identifier: Apache-2.0
// plan: what a run will take, before anything is allocated.
#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/config_arguments.h"
#include "support/error.h"
#include "support/strings.h"
#include "train/memory_plan.h"
#include "train/run_length.h"
#include "train/session.h"

namespace graft::cli {

using support::cat;

namespace {

void run_plan(std::vector<std::string> args) {
  train::PlanOptions options;
  const bool as_json = take_switch(args, "--json");
  options.all_combinations = take_switch(args, "--all");
  const std::vector<std::string> sizes = take_values(args, "--memory");
  if (sizes.size() > 1) throw support::UserError("--memory was given twice");
  std::int64_t memory = 0;
  if (!sizes.empty() && !support::parse_bytes(sizes.front(), memory)) {
    throw support::UserError(cat("--memory is \"", sizes.front(), "\", expected a size such as 24GiB"));
  }
  if (!sizes.empty()) options.memory = memory;
  const config::LoadedConfig loaded = load_config(std::move(args), config::kTrain);
  const config::RunConfig& config = loaded.config;
  data::Dataset dataset = train::load_samples(config::train_files(config.data), config, config.data.limit);
  const train::MemoryPlan plan = train::plan_memory(
      config, std::make_shared<const std::vector<data::Sample>>(std::move(dataset.samples)), options);
  std::cout << (as_json ? plan.json().dump(2) + "\n" : plan.text(options));
  if (!plan.fits(options)) {
    throw support::MemoryError(
        cat("the configured run does not fit into ", sizes.front(),
            "; lower train.micro_prompts, choose the checkpoint policy \"full\" or another "
            "strategy (--all compares them)"));
  }
}

}  // namespace

void add_plan_command(CLI::App& app) {
  add_config_command(
      app, "plan",
      "Memory of a training run, before anything is allocated: weights, adapters, gradients, optimizer, "
      "activations, KV cache, head. [--memory 24GiB] tells what fits, [--all] compares strategies and "
      "checkpoint policies, [--json] prints for programs.",
      config::kTrain, run_plan);
}

}  // namespace graft::cli
