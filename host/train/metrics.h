// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace graft::train {

// Measured times and memory: they differ between two equal runs, all other metrics do not.
[[nodiscard]] bool is_measured_metric(const std::string& name);

// What a logged row says of the steps since the last one, as transformers' Trainer and TRL log: the mean of each metric over
// the steps that have it, null where none has a value; the last value of what stands for a moment (step, num_tokens,
// learning_rate, grad_norm, epoch, samples_skipped). Extremes (completions/min_length, …) are averaged, too.
class MetricsWindow {
 public:
  // A step's row. Numbers and null only.
  void add(const nlohmann::ordered_json& row);
  // The row of all steps since the last call, or {} if there were none; keys in the order of their first appearance.
  [[nodiscard]] nlohmann::ordered_json take();
  [[nodiscard]] bool empty() const { return entries_.empty(); }

  // For checkpoints: a resumed run logs the row that an undisturbed one logs.
  [[nodiscard]] nlohmann::ordered_json to_json() const;
  // UserError if `json` is not what to_json() gives.
  [[nodiscard]] static MetricsWindow from_json(const nlohmann::ordered_json& json);

 private:
  struct Entry {
    std::string name;
    nlohmann::ordered_json last;  // null until there is a value
    double sum = 0.0;
    std::int64_t count = 0;
  };
  Entry& entry(const std::string& name);
  std::vector<Entry> entries_;
};

// metrics.jsonl of a run directory: one object a logged step, keys in insertion order, flushed line by line.
class MetricsFile {
 public:
  // Opens `file` for appending. A resumed run continues after `last_step`: later lines of an interrupted run are dropped.
  MetricsFile(const std::filesystem::path& file, std::int64_t last_step);
  void write(const nlohmann::ordered_json& row);

 private:
  std::filesystem::path file_;
  std::ofstream stream_;
};

}  // namespace graft::train
