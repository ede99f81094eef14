// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace graft::train {

// Measured times and memory: they differ between two equal runs, all other metrics do not.
[[nodiscard]] bool is_measured_metric(const std::string& name);

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
