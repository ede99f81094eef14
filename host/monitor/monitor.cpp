// SPDX-License-Identifier: Apache-2.0
#include "monitor/monitor.h"

#include <algorithm>
#include <sstream>

#include "monitor/rules.h"
#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::monitor {

using support::cat;
namespace fs = std::filesystem;

RunFacts facts_of(const config::RunConfig& config) {
  RunFacts facts;
  facts.learning_rate = config.optimizer.learning_rate;
  facts.strategy = config.peft.strategy;
  facts.max_completion_length = config.rollout.max_completion_length;
  return facts;
}

Monitor::Monitor(const config::MonitorConfig& config, RunFacts facts)
    : config_(config),
      facts_(std::move(facts)),
      history_(std::max({config.window, config.constant_steps, config.flat_steps})) {
  std::vector<std::string> names;
  for (const Rule& rule : rules()) names.emplace_back(rule.name);
  for (const std::string& name : config_.ignore) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw support::UserError(cat("monitor.ignore names the rule \"", name, "\", which is not there",
                                 support::did_you_mean(name, names), "; graft doctor rules lists them"));
  }
}

std::vector<Finding> Monitor::observe(const nlohmann::ordered_json& row) {
  std::vector<Finding> begun;
  const std::int64_t before = history_.step();
  history_.add(row);
  const std::int64_t step = history_.step();
  if (history_.empty() || step == before) return begun;
  for (const Rule& rule : rules()) {
    if (std::find(config_.ignore.begin(), config_.ignore.end(), rule.name) != config_.ignore.end()) continue;
    for (Found& found : rule.check({history_, facts_, config_})) {
      const auto [held, is_new] = held_.try_emplace({rule.name, found.subject}, step);
      if (is_new || step - held->second > config_.window) {
        begun.push_back(
            {rule.name, std::move(found.subject), found.severity, step, std::move(found.message)});
      }
      held->second = step;
    }
  }
  return begun;
}

std::vector<nlohmann::ordered_json> read_rows(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? path / "metrics.jsonl" : path;
  if (!fs::exists(file)) {
    throw support::UserError(cat(file, " is not there; expected a run directory with metrics.jsonl, or a ",
                                 "metrics.jsonl or trainer_state.json file"));
  }
  const std::string text = support::read_file(file);
  std::vector<nlohmann::ordered_json> rows;
  const auto whole = nlohmann::ordered_json::parse(text, nullptr, false);
  if (whole.is_object() && whole.contains("log_history") && whole["log_history"].is_array()) {
    rows.assign(whole["log_history"].begin(), whole["log_history"].end());
  } else {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      auto row = nlohmann::ordered_json::parse(line, nullptr, false);
      if (row.is_object()) rows.push_back(std::move(row));  // the last line of a killed run may be cut
    }
  }
  std::erase_if(rows, [](const auto& row) {
    return !row.is_object() || !row.contains("step") || !row["step"].is_number_integer();
  });
  if (rows.empty()) {
    throw support::UserError(cat(file,
                                 " has no metrics; expected JSON lines with \"step\", as graft writes "
                                 "them, or a \"log_history\", as transformers' Trainer does"));
  }
  return rows;
}

}  // namespace graft::monitor
