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
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "tests/bench/language_batch.h"
#include "train/phases.h"

namespace graft {
namespace {

using nlohmann::json;

void run(const std::string& directory, const json& given) {
  auto registry = bench::open_registry();
  model::OpenOptions options;
  options.directory = directory;
  const auto model = model::Model::open(registry, options);
  adapt::AttachOptions attach;
  attach.strategy = given.at("strategy");
  attach.params = given.at("params");
  attach.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  const auto adapter = adapt::Adapter::attach(*model, registry, attach);
  const std::int64_t sequences = given.at("sequences"), length = given.at("length");
  const memory::PassSize size{.tokens = sequences * length, .patches = 0};
  model->set_segment_hook(memory::recompute_hook(
      memory::plan(registry, *model, {given.at("policy"), json::object()}, std::nullopt,
                   memory::declared_costs(*model, size, sizeof(float)))));
  std::vector<adapt::AdapterTensor> trained;
  for (const auto& tensor : adapter->tensors()) {
    if (tensor.is_trained) trained.push_back(tensor);
  }
  const bench::Batch batch(*model, sequences, length);
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
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  return graft::bench::run_tool("peft_cost", argc, argv, graft::run);
}
