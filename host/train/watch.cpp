// SPDX-License-Identifier: Apache-2.0
#include "train/watch.h"

#include <algorithm>
#include <utility>

#include "support/log.h"
#include "support/strings.h"
#include "train/run_length.h"

namespace graft::train {

bool measures_layers(const config::RunConfig& config, const adapt::Adapter& adapter) {
  return config.monitor.enabled && config.monitor.adapter_steps > 0 && !adapter.is_model();
}

void check_watch(const config::RunConfig& config) {
  if (config.monitor.enabled) (void)monitor::Monitor(config.monitor, monitor::facts_of(config));
}

Watch::Watch(const config::RunConfig& config, const adapt::Adapter& adapter,
             const std::filesystem::path& directory, std::int64_t last_step)
    : adapter_(adapter), every_(measures_layers(config, adapter) ? config.monitor.adapter_steps : 0) {
  if (every_ > 0) layer_changes_.emplace(directory / "layer_changes.jsonl", last_step);
  if (!config.monitor.enabled) return;
  monitor::RunFacts facts = monitor::facts_of(config);
  facts.is_adapter = !adapter.is_model();
  monitor_.emplace(config.monitor, std::move(facts));
  // A run that was stopped before its first logged row has none.
  if (last_step == 0 || std::filesystem::is_empty(directory / "metrics.jsonl")) return;
  for (const auto& row : monitor::read_rows(directory))
    (void)monitor_->observe(row);  // said by the earlier part
}

void Watch::measure(std::int64_t before, std::vector<nlohmann::ordered_json>& rows) {
  if (rows.empty()) return;
  const auto step = rows.back()["step"].get<std::int64_t>();
  if (!is_due(every_, before, step)) return;
  const std::vector<adapt::LayerChange> changes = adapter_.layer_changes();
  if (changes.empty()) return;
  double sum = 0.0, least = changes.front().relative_change;
  std::int64_t still = 0;
  nlohmann::ordered_json layers;
  for (const adapt::LayerChange& change : changes) {
    sum += change.relative_change;
    least = std::min(least, change.relative_change);
    still += change.relative_change == 0.0 ? 1 : 0;
    layers[change.layer] = change.relative_change;
  }
  layer_changes_->write({{"step", step}, {"layers", layers}});
  rows.back()["adapter/relative_change_mean"] = sum / static_cast<double>(changes.size());
  rows.back()["adapter/relative_change_min"] = least;
  rows.back()["adapter/still_layers"] = still;
}

void Watch::observe(const nlohmann::ordered_json& row) {
  if (!monitor_) return;
  for (const monitor::Finding& finding : monitor_->observe(row)) {
    const std::string text = support::cat("step ", finding.step, ", ", finding.rule, ": ", finding.message);
    if (finding.severity == monitor::Severity::kWarning) {
      support::log_warn(text);
    } else {
      support::log_info(text);
    }
  }
}

}  // namespace graft::train
