// SPDX-License-Identifier: Apache-2.0
// plugins list, show, check.
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "config/schema.h"
#include "model/tensor_services.h"
#include "plugin/check.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"
#include "train/session.h"

namespace graft::cli {

using support::cat;

namespace {

void run_list(const std::vector<std::string>& files, const std::string& kind, bool as_json) {
  const auto registry = train::open_registry(files);
  const std::vector<plugin::Component> components = registry->list(kind);
  std::size_t kind_width = 0, name_width = 0;
  for (const plugin::Component& component : components) {
    kind_width = std::max(kind_width, component.kind.size());
    name_width = std::max(name_width, component.name.size());
  }
  for (const plugin::Component& component : components) {
    if (as_json) {
      const nlohmann::ordered_json row = {{"kind", component.kind},
                                          {"name", component.name},
                                          {"version", component.version},
                                          {"summary", component.summary},
                                          {"library", component.library.string()}};
      std::cout << row.dump() << "\n";
      continue;
    }
    std::string kind_cell = component.kind, name_cell = component.name;
    kind_cell.resize(kind_width + 2, ' ');
    name_cell.resize(name_width + 2, ' ');
    std::cout << kind_cell << name_cell << component.summary << "\n";
  }
}

void run_show(const std::vector<std::string>& files, const std::string& name) {
  const auto registry = train::open_registry(files);
  bool found = false;
  std::vector<std::string> names;
  for (const plugin::Component& component : registry->list()) {
    names.push_back(component.name);
    if (component.name != name) continue;
    found = true;
    std::cout << component.kind << " " << component.name << " " << component.version << "\n  "
              << component.summary << "\n  from " << component.library.string() << "\n";
    const std::string_view schema = plugin::view(component.table->params_schema);
    if (schema.empty()) continue;
    std::cout << "  parameters:\n" << config::params_help(nlohmann::json::parse(schema), component.label());
  }
  if (!found) {
    const std::string nearest = support::nearest_name(name, names);
    throw support::PluginError(cat("no plugin is called \"", name, "\"",
                                   nearest.empty() ? "" : cat("; did you mean \"", nearest, "\"?"),
                                   "; graft plugins list shows all"));
  }
}

void run_check(const std::vector<std::string>& files, std::uint64_t seed, bool as_json) {
  model::register_tensor_services();
  plugin::CheckOptions check_options;
  check_options.seed = seed;
  std::size_t bad = 0;
  for (const std::string& file : files) {
    const plugin::CheckReport report = plugin::check_plugin(file, plugin::host_table(), check_options);
    std::cout << (as_json ? report.json().dump() + "\n" : report.text()) << std::flush;
    bad += report.passed() ? 0 : 1;
  }
  if (bad > 0) {
    throw support::PluginError(
        cat(bad, " of ", files.size(), " plugin files break the contract of plugin_api; see above"));
  }
}

}  // namespace

void add_plugin_commands(CLI::App& app) {
  struct Options {
    std::vector<std::string> files, checked;
    std::string name, kind;
    std::uint64_t seed = plugin::CheckOptions{}.seed;
    bool as_json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* plugins =
      app.add_subcommand("plugins", "Plugins: what there is, what they take, whether they are sound");
  plugins->require_subcommand(1);

  CLI::App* list = plugins->add_subcommand("list", "Lists all plugins of the search path");
  list->add_option("--kind", options->kind, "model_family, peft, checkpoint_policy or reward");
  list->add_option("--plugin", options->files, "more plugin files");
  list->add_flag("--json", options->as_json, "one JSON object a line");
  list->callback([options] { run_list(options->files, options->kind, options->as_json); });

  CLI::App* show = plugins->add_subcommand("show", "Shows a plugin and its parameters");
  show->add_option("name", options->name, "name of the plugin")->required();
  show->add_option("--plugin", options->files, "more plugin files");
  show->callback([options] { run_show(options->files, options->name); });

  CLI::App* check =
      plugins->add_subcommand("check", "Tries plugin files in child processes and reports what is wrong");
  check->add_option("files", options->checked, "plugin files")->required();
  check->add_option("--seed", options->seed, "of generated input; a report names it")->capture_default_str();
  check->add_flag("--json", options->as_json, "one JSON object a file");
  check->callback([options] { run_check(options->checked, options->seed, options->as_json); });
}

}  // namespace graft::cli
