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
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "adapt/adapter.h"
#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "model/model.h"
#include "model/tensor_services.h"
#include "objective/logprobs.h"
#include "plugin/host_services.h"

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

plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

// Sequences of `length` tokens: the start of a prompt and an answer, all different.
struct Batch {
  Batch(const model::Model& model, std::int64_t sequences, std::int64_t length)
      : start(model.prepare({{"user", "Where is it?", 0}}, {}, {})) {
    // The last token of a completion does not pass through the model.
    const auto answer = length - static_cast<std::int64_t>(start.ids.size()) + 1;
    for (std::int64_t i = 0; i < sequences; ++i) {
      std::vector<std::int64_t>& ids = answers.emplace_back();
      for (std::int64_t k = 0; k < answer; ++k) ids.push_back((k * 31 + i * 7) % 1000);
    }
    for (const std::vector<std::int64_t>& ids : answers) groups.push_back({&start, {}, {ids}});
  }

  model::Prompt start;
  std::vector<std::vector<std::int64_t>> answers;
  std::vector<objective::ScoredGroup> groups;
};

int run(const std::string& directory, const json& given) {
  auto registry = open_registry();
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
  const Batch batch(*model, sequences, length);
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
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw std::invalid_argument("usage: checkpoint MODEL OPTIONS");
    return graft::run(argv[1], nlohmann::json::parse(argv[2]));
  } catch (const std::exception& e) {
    std::cerr << "checkpoint: " << e.what() << '\n';
    return 1;
  }
}
