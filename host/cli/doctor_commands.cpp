// SPDX-License-Identifier: Apache-2.0
// doctor grads: gradients with and without checkpointing. doctor rewards: would these rewards teach this model anything? doctor run, doctor rules: what the metrics of a run give away.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/commands.h"
#include "cli/config_arguments.h"
#include "cli/jsonl_stream.h"
#include "cli/recorded_completions.h"
#include "config/run_config.h"
#include "doctor/grads.h"
#include "monitor/monitor.h"
#include "monitor/rules.h"
#include "rewards/report.h"
#include "support/error.h"
#include "support/files.h"
#include "support/interrupt.h"
#include "support/strings.h"
#include "train/preflight.h"
#include "train/prompt_source.h"
#include "train/session.h"

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
  monitor::RunFacts facts = monitor::facts_of(loaded.config);
  facts.is_adapter = fs::exists(fs::path(options.path) / "layer_changes.jsonl") ||
                     fs::exists(fs::path(options.path) / "adapter");
  return {loaded.config.monitor, std::move(facts)};
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

RecordedCompletions read_completions(const std::string& file) {
  RecordedCompletions completions;
  std::istringstream lines(support::read_file(file));
  for_each_row(lines, file, [&](const nlohmann::json& row) { completions.add(row); });
  return completions;
}

rewards::Report report_of_file(const config::RunConfig& config, const std::string& file) {
  const auto registry = train::open_registry(config.plugins);
  const auto rewards = train::open_rewards(*registry, config);
  const RecordedCompletions completions = read_completions(file);
  const std::vector<rewards::Item> items = completions.items();
  if (items.empty()) throw support::UserError(cat(file, " holds no completions"));
  rewards::ReportContext context;
  context.prompt = cat(config.data.system_prompt.value_or(""), "\n", config.data.question_template);
  return rewards::examine(*rewards, items, context);
}

rewards::Report report_of_model(const config::RunConfig& config) {
  support::install_interrupt_handlers();
  data::Dataset dataset = train::load_samples(config::train_files(config.data), config, config.data.limit);
  const train::Session session = train::open_inference(config);
  const train::PromptSource prompts(*session.model, config.data, std::move(dataset.samples),
                                    static_cast<std::uint64_t>(config.seed));
  rewards::Report report =
      train::sample_report(session, prompts, config, static_cast<std::size_t>(config.preflight.prompts));
  for (rewards::Mismatch& m :
       rewards::check_contracts(*session.rewards, train::report_context(*session.model, config))) {
    report.mismatches.push_back(std::move(m));
  }
  return report;
}

void run_doctor_rewards(std::vector<std::string> args) {
  const std::vector<std::string> files = take_values(args, "--completions");
  const bool as_json = take_switch(args, "--json");
  if (files.size() > 1) throw support::UserError("--completions is given twice; expected one file");
  const config::LoadedConfig loaded = load_config(std::move(args), config::kTrain);
  const rewards::Report report =
      files.empty() ? report_of_model(loaded.config) : report_of_file(loaded.config, files.front());
  std::cout << (as_json ? rewards::report_json(report).dump(2) + "\n" : rewards::report_text(report));
  if (report.is_pointless()) {
    throw support::PreflightError("training with these rewards would be pointless; see the report");
  }
}

void run_doctor_grads(std::vector<std::string> args) {
  const bool as_json = take_switch(args, "--json");
  const config::LoadedConfig loaded = load_config(std::move(args), config::kTrain);
  const config::RunConfig& config = loaded.config;
  data::Dataset dataset = train::load_samples(config::train_files(config.data), config, config.data.limit);
  const doctor::GradsReport report = doctor::compare_gradients(config, std::move(dataset.samples));
  std::cout << (as_json ? report.json().dump(2) + "\n" : report.text());
  if (!report.is_good()) {
    throw support::PluginError(
        cat("with checkpoint policy ", report.policy, " ", report.lost(),
            " trained tensors lack a gradient, and the worst of the others differs by ", report.worst(),
            "; the model family's segments or the strategy compute another thing the second time"));
  }
}

}  // namespace

void add_doctor_commands(CLI::App& app) {
  CLI::App* doctor =
      app.add_subcommand("doctor", "Finds what wastes a run, and says what to do")->require_subcommand(1);
  add_config_command(
      *doctor, "grads",
      "One pass with and without checkpointing, all gradients compared; and what the same trained tensors "
      "would have met with elsewhere. [--json]",
      config::kTrain, run_doctor_grads, "doctor ");
  add_config_command(
      *doctor, "rewards",
      "Samples completions and tells how each reward takes them, why it does not, and what to do. "
      "[--completions FILE.jsonl instead of sampling] [--json]",
      config::kTrain, run_doctor_rewards, "doctor ");

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
