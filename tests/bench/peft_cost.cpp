// SPDX-License-Identifier: Apache-2.0
// One measurement of peft_cost.py: forward and backward of the language model under a PEFT strategy.
//
//   peft_cost MODEL OPTIONS     OPTIONS is JSON: "strategy", "params", "policy", "sequences", "length", "rounds"
//
// Prints JSON: "seconds" of each round's forward and backward after a warm-up, and "bytes", the peak of resident memory above what
// is resident once the model is open and the strategy attached, so of activations, gradients and the optimizer's state. Each round
// ends with an AdamW step, which is not timed.
#include <ATen/Parallel.h>
#include <graft/checkpoint_policy.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "memory/recompute.h"
#include "model/model.h"
#include "model/tensor_services.h"
#include "objective/logprobs.h"
#include "plugin/host_services.h"
#include "train/phases.h"

namespace graft {
namespace {

using nlohmann::json;

plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

// Sequences of `length` tokens: the start of a prompt and an answer, all different.
struct Batch {
  Batch(const model::Model& model, std::int64_t sequences, std::int64_t length) {
    const model::Prompt start = model.prepare({{"user", "Where is it?", 0}}, {}, {});
    const auto answer = length - static_cast<std::int64_t>(start.ids.size());
    for (std::int64_t i = 0; i < sequences; ++i) {
      prompts.push_back(start);
      std::vector<std::int64_t> ids;
      for (std::int64_t k = 0; k < answer; ++k) ids.push_back((k * 31 + i * 7) % 1000);
      answers.push_back(std::move(ids));
    }
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      objective::ScoredGroup group;
      group.prompt = &prompts[i];
      group.completions = {answers[i]};
      groups.push_back(std::move(group));
    }
  }

  std::vector<model::Prompt> prompts;
  std::vector<std::vector<std::int64_t>> answers;
  std::vector<objective::ScoredGroup> groups;
};

int run(const std::string& directory, const json& given) {
  auto registry = open_registry();
  model::OpenOptions options;
  options.directory = directory;
  const auto model = model::Model::open(registry, options);
  adapt::AttachOptions attach;
  attach.strategy = given.at("strategy");
  attach.params = given.at("params");
  attach.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  const auto adapter = adapt::Adapter::attach(*model, registry, attach);
  const std::int64_t sequences = given.at("sequences"), length = given.at("length");
  model->set_segment_hook(memory::recompute_hook(memory::plan(
      registry, *model, given.at("policy"), json::object(), sequences * length, sizeof(float), 0)));
  std::vector<adapt::AdapterTensor> trained;
  for (const auto& tensor : adapter->tensors()) {
    if (tensor.is_trained) trained.push_back(tensor);
  }
  const Batch batch(*model, sequences, length);
  objective::LogprobOptions scoring;
  scoring.pass.is_training = true;

  train::reset_peak_memory();
  const std::int64_t before = train::current_memory().value_or(0);
  adapt::AdamW optimizer(std::move(trained), {});
  std::vector<double> seconds;
  const std::int64_t rounds = given.at("rounds");
  for (std::int64_t round = 0; round <= rounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    objective::completion_logprobs(*model, batch.groups, scoring).logprobs.mean().neg().backward();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (round > 0) seconds.push_back(took.count());
    optimizer.step(1e-6);
    optimizer.zero_grad();
  }
  std::cout << json{{"seconds", seconds}, {"bytes", train::peak_memory().value_or(0) - before}} << '\n';
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw std::invalid_argument("usage: peft_cost MODEL OPTIONS");
    return graft::run(argv[1], nlohmann::json::parse(argv[2]));
  } catch (const std::exception& e) {
    std::cerr << "peft_cost: " << e.what() << '\n';
    return 1;
  }
}
