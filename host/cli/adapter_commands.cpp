// SPDX-License-Identifier: Apache-2.0
// adapter info, adapter convert, adapter combine, merge: what to do with a trained adapter.
#include <iostream>
#include <memory>

#include "adapt/adapter.h"
#include "adapt/adapter_info.h"
#include "adapt/combine.h"
#include "cli/commands.h"
#include "model/model.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"
#include "train/session.h"

namespace graft::cli {

namespace {

using support::cat;

struct Options {
  std::string adapter, model, output, dtype = "auto";
  std::vector<std::string> base_adapters;  // beneath `adapter`, first to last
  std::vector<std::string> plugins;
  bool as_json = false;
};

// The model and the adapter on it, the model's weights in `dtype`.
struct Pair {
  std::unique_ptr<plugin::Registry> registry;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
};

Pair open(const Options& options, const std::string& dtype) {
  Pair pair;
  pair.registry = train::open_registry(options.plugins);
  model::OpenOptions open_options;
  open_options.directory = options.model;
  open_options.family = "auto";
  open_options.dtype = dtype;
  pair.model = model::Model::open(*pair.registry, open_options);
  adapt::AttachOptions attach;
  attach.adapter = options.adapter;
  attach.base_adapters = {options.base_adapters.begin(), options.base_adapters.end()};
  pair.adapter = adapt::Adapter::attach(*pair.model, *pair.registry, attach);
  return pair;
}

void run_info(const Options& options) {
  const auto registry = train::open_registry(options.plugins);
  const adapt::AdapterInfo info = adapt::read_adapter_info(*registry, options.adapter);
  if (options.as_json) {
    std::cout << info.json().dump() << '\n';
    return;
  }
  std::cout << info.text();
  if (options.model.empty()) return;
  std::cout << open(options, "auto").adapter->summary();
}

void run_convert(const Options& options) {
  open(options, "auto").adapter->save(options.output);
  support::log_info(cat("adapter written to ", options.output));
}

void run_combine(const Options& options, const adapt::Combination& combination) {
  const auto registry = train::open_registry(options.plugins);
  adapt::combine_adapters(*registry, combination, options.output);
  support::log_info(cat("adapter written to ", options.output));
}

void run_merge(const Options& options) {
  open(options, options.dtype).adapter->save_merged(options.output);
  support::log_info(cat("model written to ", options.output));
}

void add_combine(CLI::App& adapter, const std::shared_ptr<Options>& options) {
  auto combination = std::make_shared<adapt::Combination>();
  CLI::App* command = adapter.add_subcommand(
      "combine", "Writes a weighted sum of LoRA adapters as one, as PEFT's add_weighted_adapter does");
  command->add_option("output", options->output, "directory to write")->required();
  command->add_option("--adapter", combination->adapters, "adapter directory; once for each")->required();
  command->add_option("--weight", combination->weights, "its weight; once for each adapter, in their order")
      ->required();
  command
      ->add_option("--type", combination->type,
                   "svd: the nearest update of --rank; cat: the exact sum, of the sum of the ranks; linear: "
                   "A and B added "
                   "by themselves, which is rough; ties, magnitude_prune: linear of the largest elements; "
                   "…_svd: of the "
                   "whole updates")
      ->check(CLI::IsMember(adapt::combination_types()))
      ->capture_default_str();
  command
      ->add_option("--rank", combination->rank, "of the …svd types; the highest of the adapters unless given")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--density", combination->density,
                   "part of the elements that ties and magnitude_prune keep")
      ->capture_default_str();
  command->add_option("--majority-sign-method", combination->majority_sign_method, "of ties: whose sign wins")
      ->check(CLI::IsMember({"total", "frequency"}))
      ->capture_default_str();
  command->add_option("--plugin", options->plugins, "more plugin files");
  command->callback([options, combination] { run_combine(*options, *combination); });
}

}  // namespace

void add_adapter_commands(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* adapter = app.add_subcommand("adapter", "Adapters in PEFT's format")->require_subcommand(1);
  const auto take_plugins = [options](CLI::App* command) {
    command->add_option("--plugin", options->plugins, "more plugin files");
  };

  CLI::App* info = adapter->add_subcommand("info", "Shows an adapter's strategy, layers and size");
  info->add_option("adapter", options->adapter, "adapter directory")->required();
  info->add_option("--model", options->model, "also fit it onto this model and show the layers it adapts");
  info->add_flag("--json", options->as_json, "one JSON object instead")->excludes("--model");
  take_plugins(info);
  info->callback([options] { run_info(*options); });

  CLI::App* convert = adapter->add_subcommand("convert",
                                              "Writes an adapter in the form that every tool reads: float32, "
                                              "today's module names, and PiSSA and OLoRA as plain LoRA "
                                              "of twice the rank on the unchanged model");
  convert->add_option("adapter", options->adapter, "adapter directory")->required();
  convert->add_option("output", options->output, "directory to write")->required();
  convert->add_option("--model", options->model, "its base model")->required();
  take_plugins(convert);
  convert->callback([options] { run_convert(*options); });

  add_combine(*adapter, options);

  CLI::App* merge =
      app.add_subcommand("merge", "Merges an adapter into its model and writes a plain model directory");
  merge->add_option("--model", options->model, "base model directory")->required();
  merge
      ->add_option("--adapter", options->base_adapters,
                   "adapter directory; several are merged one after the other")
      ->required();
  merge->add_option("--output", options->output, "directory to write")->required();
  merge->add_option("--dtype", options->dtype, "of the written weights; auto: that of the model's files")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16"}))
      ->capture_default_str();
  take_plugins(merge);
  merge->callback([options] {
    options->adapter = options->base_adapters.back();
    options->base_adapters.pop_back();
    run_merge(*options);
  });
}

}  // namespace graft::cli
