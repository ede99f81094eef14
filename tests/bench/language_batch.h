// SPDX-License-Identifier: Apache-2.0
// What measurements of the language model share: every plugin loaded, a batch of sequences, a command line of MODEL and JSON.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/tensor_services.h"
#include "objective/logprobs.h"
#include "plugin/host_services.h"

namespace graft::bench {

inline plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

// Sequences of the start of a prompt and an answer, all different. The last token of an answer does not pass through the model.
struct Batch {
  // `length`: tokens of a sequence, that last one included.
  Batch(const model::Model& model, std::int64_t sequences, std::int64_t length)
      : start(model.prepare({{"user", "Where is it?", 0}}, {}, {})) {
    const auto answer = length - static_cast<std::int64_t>(start.ids.size());
    for (std::int64_t i = 0; i < sequences; ++i) {
      std::vector<std::int64_t>& ids = answers.emplace_back();
      for (std::int64_t k = 0; k < answer; ++k) ids.push_back((k * 31 + i * 7) % 1000);
    }
    for (const std::vector<std::int64_t>& ids : answers) {
      objective::ScoredGroup& group = groups.emplace_back();
      group.prompt = &start;
      group.completions = {ids};
    }
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  model::Prompt start;
  std::vector<std::vector<std::int64_t>> answers;
  std::vector<objective::ScoredGroup> groups;
};

// The main() of a program NAME MODEL OPTIONS; `run` takes the model's directory and the options, and prints.
template <typename Run>
int run_tool(const char* name, int argc, char** argv, const Run& run) {
  try {
    if (argc != 3) throw std::invalid_argument(std::string("usage: ") + name + " MODEL OPTIONS");
    run(std::string(argv[1]), nlohmann::json::parse(argv[2]));
    return 0;
  } catch (const std::exception& e) {
    std::cerr << name << ": " << e.what() << '\n';
    return 1;
  }
}

}  // namespace graft::bench
