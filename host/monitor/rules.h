// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "monitor/history.h"
#include "monitor/monitor.h"

namespace graft::monitor {

struct Situation {
  const History& history;
  const RunFacts& facts;
  const config::MonitorConfig& limits;
};

// What a rule found; rule and step are filled in by the monitor.
struct Found {
  std::string message;
  std::string subject = "";
  Severity severity = Severity::kWarning;
};

struct Rule {
  const char* name;
  const char* when;    // what it watches, with the keys of its thresholds
  const char* source;  // where threshold and reading come from
  // What holds after the newest row.
  std::vector<Found> (*check)(const Situation& situation);
};

// In the order in which their findings are worth reading.
[[nodiscard]] std::span<const Rule> rules();

// The two halves of that list.
[[nodiscard]] std::vector<Rule> reward_rules();  // about the signal: rewards, groups, completions
[[nodiscard]] std::vector<Rule> update_rules();  // about learning: loss, gradient, policy, adapter

}  // namespace graft::monitor
