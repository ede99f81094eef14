// SPDX-License-Identifier: Apache-2.0
// `graft doctor grads`: does checkpointing change or lose gradients?
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "data/sample.h"
#include "doctor/history.h"

namespace graft::doctor {

// A trained tensor's gradients without and with checkpointing.
struct TensorGradients {
  std::string name;
  bool is_there_without = false, is_there_with = false;
  double largest = 0.0;     // absolute value, without checkpointing
  double difference = 0.0;  // the largest one, relative to `largest`
};

struct PassCost {
  double seconds = 0.0;
  std::optional<std::int64_t> peak_bytes;  // of the process, where the system tells it
};

struct GradsReport {
  std::string strategy, policy;
  std::int64_t tokens = 0;
  double tolerance = 0.0;
  double loss_without = 0.0, loss_with = 0.0;
  std::vector<TensorGradients> tensors;  // the worst first
  PassCost without, with;
  TrainedParts parts;
  std::vector<HistoricalCase> history;

  [[nodiscard]] std::size_t lost()
      const;  // tensors that have a gradient in one of the two alone, or in neither
  [[nodiscard]] double worst() const;
  [[nodiscard]] bool is_good() const { return lost() == 0 && worst() <= tolerance; }
  [[nodiscard]] nlohmann::ordered_json json() const;
  [[nodiscard]] std::string text() const;
};

// One pass of the configured size, forward and backward, without checkpointing and with the configured policy ("full" if that is
// "none"), on the first prompts of `samples` with completions and weights of their log-probabilities drawn from the seed; no
// reward is needed. Dropout draws the same in both. Control thread.
[[nodiscard]] GradsReport compare_gradients(const config::RunConfig& config,
                                            std::vector<data::Sample> samples);

}  // namespace graft::doctor
