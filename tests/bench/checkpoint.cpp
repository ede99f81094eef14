// SPDX-License-Identifier: Apache-2.0
// One measurement of checkpoint.py: forward and backward of the language model under LoRA and a checkpoint policy.
//
//   checkpoint MODEL OPTIONS     OPTIONS is JSON: "policy", "params", "sequences", "length", "rounds"
//
// Prints JSON: "seconds" and "cpu_seconds" of each round's forward and backward after a warm-up (without one if "rounds" is 0), and
// "bytes", the peak of what tensors take beyond those that are there once the strategy is attached: activations, gradients and
// whatever backward needs for a while. LibTorch reports each allocation, so the figure is the same in every run.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <graft/checkpoint_policy.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "adapt/adapter.h"
#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "tests/bench/language_batch.h"

namespace graft {
namespace {

using nlohmann::json;

class PeakCounter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device) override {
    current_ += bytes;
    peak_ = std::max(peak_, current_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  [[nodiscard]] std::int64_t peak() const { return peak_; }

 private:
  std::int64_t current_ = 0, peak_ = 0;
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void run(const std::string& directory, const json& given) {
  auto registry = bench::open_registry();
  model::OpenOptions options;
  options.directory = directory;
  const auto model = model::Model::open(registry, options);
  adapt::AttachOptions attach;
  attach.strategy = "lora";
  attach.params = {{"r", 8}};
  attach.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  const auto adapter = adapt::Adapter::attach(*model, registry, attach);
  const std::int64_t sequences = given.at("sequences"), length = given.at("length");
  const memory::PolicyChoice policy{given.at("policy"), given.at("params")};
  model->set_segment_hook(memory::recompute_hook(
      memory::plan(registry, *model, policy, std::nullopt,
                   memory::measured_costs(*model, {.tokens = sequences * length, .patches = 0}))));
  const bench::Batch batch(*model, sequences, length + 1);
  objective::LogprobOptions scoring;
  scoring.pass.is_training = true;

  const auto counter = std::make_shared<PeakCounter>();
  std::vector<double> seconds, cpu;
  const std::int64_t rounds = given.at("rounds");
  for (std::int64_t round = 0; round <= rounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    const double cpu_begin = cpu_seconds();
    {
      std::optional<c10::DebugInfoGuard> counting;  // of the warm-up alone: reports cost time
      if (round == 0) counting.emplace(c10::DebugInfoKind::PROFILER_STATE, counter);
      objective::completion_logprobs(*model, batch.groups, scoring).logprobs.mean().neg().backward();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (round > 0 || rounds == 0) {
      seconds.push_back(took.count());
      cpu.push_back(cpu_seconds() - cpu_begin);
    }
    for (const auto& item : adapter->tensors()) item.tensor.mutable_grad().reset();
  }
  std::cout << json{{"seconds", seconds}, {"cpu_seconds", cpu}, {"bytes", counter->peak()}} << '\n';
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  return graft::bench::run_tool("checkpoint", argc, argv, graft::run);
}
