// SPDX-License-Identifier: Apache-2.0
// doctor run, doctor rules: what the metrics of a run give away.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "config/run_config.h"
#include "monitor/monitor.h"
#include "monitor/rules.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::cli {

namespace {

namespace fs = std::filesystem;
using support::cat;

struct RunOptions {
  std::string path;
  std::vector<std::string> overrides;
  bool as_json = false;
};

const char* word(monitor::Severity severity) {
  return severity == monitor::Severity::kWarning ? "warning" : "note";
}

// A monitor for the run, with its configuration if the directory has it.
monitor::Monitor open_monitor(const RunOptions& options, const std::vector<nlohmann::ordered_json>& rows) {
  const fs::path config_file = fs::path(options.path) / "config.json";
  if (!fs::exists(config_file)) {
    if (!options.overrides.empty()) {
      throw support::UserError(cat(config_file,
                                   " is not there, so thresholds cannot be changed; give the "
                                   "run directory, or leave out ",
                                   options.overrides.front()));
    }
    return {config::MonitorConfig{}, monitor::RunFacts{}};
  }
  bool is_grpo = false;
  for (const auto& row : rows) is_grpo = is_grpo || row.contains("reward");
  const auto loaded = config::load_run_config(config_file.string(), options.overrides,
                                              is_grpo ? config::kTrain : config::kSft);
  return {loaded.config.monitor, monitor::facts_of(loaded.config)};
}

void run_doctor(const RunOptions& options) {
  const auto rows = monitor::read_rows(options.path);
  monitor::Monitor monitor = open_monitor(options, rows);
  std::vector<monitor::Finding> findings;
  for (const auto& row : rows) {
    for (monitor::Finding& finding : monitor.observe(row)) findings.push_back(std::move(finding));
  }
  if (options.as_json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto& finding : findings) {
      list.push_back({{"step", finding.step},
                      {"rule", finding.rule},
                      {"subject", finding.subject},
                      {"severity", word(finding.severity)},
                      {"message", finding.message}});
    }
    std::cout << list.dump(2) << "\n";
    return;
  }
  std::size_t warnings = 0;
  for (const auto& finding : findings) {
    warnings += finding.severity == monitor::Severity::kWarning ? 1 : 0;
    std::cout << "step " << finding.step << "  " << word(finding.severity) << "  " << finding.rule << "\n  "
              << finding.message << "\n\n";
  }
  std::cout << rows.size() << " rows, to step " << rows.back()["step"] << ": " << warnings << " warnings, "
            << findings.size() - warnings << " notes\n";
}

void list_rules() {
  for (const monitor::Rule& rule : monitor::rules()) {
    std::cout << rule.name << "\n  when: " << rule.when << "\n  source: " << rule.source << "\n";
  }
}

}  // namespace

void add_doctor_commands(CLI::App& app) {
  CLI::App* doctor =
      app.add_subcommand("doctor", "Finds what wastes a run, and says what to do")->require_subcommand(1);
  auto options = std::make_shared<RunOptions>();
  CLI::App* run = doctor->add_subcommand("run", "Reads the metrics of a run, finished or not");
  run->add_option("path", options->path,
                  "output_dir of graft train or graft sft, a metrics.jsonl, or a trainer_state.json of TRL")
      ->required();
  run->add_option("overrides", options->overrides, "monitor.KEY=VALUE: other thresholds");
  run->add_flag("--json", options->as_json, "findings as JSON");
  run->callback([options] { run_doctor(*options); });
  doctor->add_subcommand("rules", "Every rule with what it watches and where it comes from")
      ->callback(list_rules);
}

}  // namespace graft::cli
