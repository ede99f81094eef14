// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "adapt/adapter.h"
#include "config/run_config.h"
#include "monitor/monitor.h"
#include "train/metrics.h"

namespace graft::train {

// Whether the run measures how far its adapter moves: monitor.adapter_steps, and layers that are adapted rather than trained
// themselves. Adapter::keep_reference() then comes before the first step.
[[nodiscard]] bool measures_layers(const config::RunConfig& config, const adapt::Adapter& adapter);

// UserError for a configuration that no monitor can be made of.
void check_watch(const config::RunConfig& config);

// The monitor of a run: measures the adapter, and logs what the metrics give away.
class Watch {
 public:
  // Takes up after `last_step` of an earlier part of the run in `directory`, whose metrics.jsonl is cut there already.
  Watch(const config::RunConfig& config, const adapt::Adapter& adapter,
        const std::filesystem::path& directory, std::int64_t last_step);

  // Adds adapter/relative_change_mean and _min and adapter/still_layers to the last of a call's rows if monitor.adapter_steps
  // came up since step `before`, and each layer's to layer_changes.jsonl.
  void measure(std::int64_t before, std::vector<nlohmann::ordered_json>& rows);
  // Says what began with a row of metrics.jsonl.
  void observe(const nlohmann::ordered_json& row);

 private:
  const adapt::Adapter& adapter_;
  std::int64_t every_;  // steps; 0: never measured
  std::optional<MetricsFile> layer_changes_;
  std::optional<monitor::Monitor> monitor_;
};

}  // namespace graft::train
