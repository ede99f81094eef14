// SPDX-License-Identifier: Apache-2.0
// Watches the metrics of a run for what is known to waste it, and says what it means and what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"
#include "monitor/history.h"

namespace graft::monitor {

enum class Severity { kNote, kWarning };  // a note explains what is as it should be

struct Finding {
  std::string rule;     // its name, for monitor.ignore
  std::string subject;  // the reward or metric that it is about, "" where the rule has only one
  Severity severity = Severity::kWarning;
  std::int64_t step = 0;
  std::string message;  // what was seen, what it means, what to do
};

// What the metrics do not tell of a run; absent where unknown.
struct RunFacts {
  std::optional<double> learning_rate;
  std::optional<std::string> strategy;
  std::optional<bool> is_adapter;  // base weights stay as they are
  std::optional<std::int64_t> max_completion_length;
};

// What the configuration tells; is_adapter only the attached strategy does.
[[nodiscard]] RunFacts facts_of(const config::RunConfig& config);

class Monitor {
 public:
  // UserError if monitor.ignore names a rule that is not there.
  Monitor(const config::MonitorConfig& config, RunFacts facts);

  // Takes a row of metrics.jsonl and returns what began with it. What a rule found is said once, and again only if it
  // was away for monitor.window steps. Rows come in the order of their steps.
  std::vector<Finding> observe(const nlohmann::ordered_json& row);

 private:
  config::MonitorConfig config_;
  RunFacts facts_;
  History history_;
  std::map<std::pair<std::string, std::string>, std::int64_t> held_;  // rule and subject -> last step
};

// Rows of metrics.jsonl, of a directory that holds one, or of the trainer_state.json that transformers' Trainer and TRL write,
// whose metrics have the same names. UserError if there are none.
[[nodiscard]] std::vector<nlohmann::ordered_json> read_rows(const std::filesystem::path& path);

}  // namespace graft::monitor
