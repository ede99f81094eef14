// SPDX-License-Identifier: Apache-2.0
#include "plugin/check.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cfenv>
#include <clocale>
#include <cstring>
#include <nlohmann/json.hpp>

#include "config/schema.h"
#include "plugin/check_context.h"
#include "plugin/child.h"
#include "plugin/host_services.h"
#include "plugin/interfaces.h"
#include "plugin/library.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;
using Level = CheckFinding::Level;

// ---- checks of every component ---------------------------------------------------------------------------------------

std::string random_word(support::KeyedRandom& random) {
  std::string word(static_cast<std::size_t>(random.between(1, 40)), ' ');
  for (char& c : word) c = static_cast<char>(random.between(33, 126));
  return word;
}

std::string check_interface_ids(const CheckContext& context) {
  const std::string id(interface_of(context.component.kind)->id);
  support::KeyedRandom random = context.random("interface ids");
  std::vector<std::string> unknown = {
      "",       id + "garbage",           id + "0", id.substr(0, id.size() - 1), id + std::string(1, '\0'),
      "graft.", std::string(100'000, 'x')};
  for (int i = 0; i < 100; ++i) unknown.push_back(random_word(random));
  const graft_component& table = *context.component.table;
  for (const std::string& word : unknown) {
    if (table.get_interface(context.component.self, view(word)) != nullptr) {
      return cat("get_interface(\"", word.substr(0, 60), "\") is not null, expected null for an unknown id");
    }
  }
  const void* first = table.get_interface(context.component.self, view(id));
  if (first != table.get_interface(context.component.self, view(id))) {
    return cat("get_interface(\"", id, "\") gives another table each time, expected a constant one");
  }
  return {};
}

std::string check_broken_params(const CheckContext& context) {
  for (const std::string_view text : {"", "{", "[]", "null", "{\"a\":", "\"\xff\"", "{}"}) {
    const Creation made = try_create(context, text);
    if (!made.problem.empty()) return cat("create() with the parameters `", text, "`: ", made.problem);
    if (made.raw != nullptr) context.component.table->destroy(made.raw);
  }
  return {};
}

// A value that the schema accepts, often at the edge of its range.
nlohmann::json random_value(const config::Schema& schema, support::KeyedRandom& random) {
  if (!schema.allowed.empty()) return schema.allowed[random.below(schema.allowed.size())];
  const double low = schema.minimum.value_or(schema.exclusive_minimum.value_or(-1e6));
  const double high = schema.maximum.value_or(schema.exclusive_maximum.value_or(low + 1e6));
  if ((schema.types & config::kInteger) != 0 && (schema.types & config::kNumber) == 0) {
    const auto least = static_cast<std::int64_t>(low) + (schema.exclusive_minimum ? 1 : 0);
    const auto most = static_cast<std::int64_t>(high) - (schema.exclusive_maximum ? 1 : 0);
    return random.below(4) == 0 ? least : random.between(least, std::max(least, most));
  }
  if ((schema.types & config::kNumber) != 0) {
    if (random.below(4) == 0 && schema.minimum) return low;
    return low + (high - low) * (0.001 + 0.99 * random.uniform());
  }
  if ((schema.types & config::kBoolean) != 0) return random.below(2) == 0;
  if ((schema.types & config::kString) != 0) return random_word(random);
  if ((schema.types & config::kArray) != 0 && schema.items != nullptr) {
    nlohmann::json items = nlohmann::json::array();
    const std::uint64_t n = schema.min_items.value_or(0) + random.below(4);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(n, schema.max_items.value_or(n)); ++i) {
      items.push_back(random_value(*schema.items, random));
    }
    return items;
  }
  return schema.default_value.value_or(nullptr);
}

// Parameters that the schema accepts make an instance or an explained refusal.
std::string check_random_params(const CheckContext& context) {
  const std::string_view text = view(context.component.table->params_schema);
  if (text.empty()) return {};
  const nlohmann::json raw_schema = nlohmann::json::parse(text);
  const config::Schema schema = config::schema_from_json(raw_schema, context.component.label());
  support::KeyedRandom random = context.random("parameters");
  for (int round = 0; round < 200; ++round) {
    nlohmann::json given = nlohmann::json::object();
    for (const config::Property& property : schema.properties) {
      if (random.below(2) == 0) given[property.name] = random_value(property.schema, random);
    }
    const std::string params = config::resolve_params(raw_schema, given, context.component.label()).dump();
    const Creation made = try_create(context, params);
    if (!made.problem.empty()) return cat("create() with ", params, ": ", made.problem);
    if (made.raw != nullptr) context.component.table->destroy(made.raw);
  }
  return {};
}

// Bytes in use on the heap; 0 where another allocator took malloc's place.
std::size_t heap_in_use() {
  return ::mallinfo2().uordblks;
}

std::string check_leaks(const CheckContext& context) {
  const std::string params = default_params(context.component).dump();
  const auto make = [&](int n) {
    for (int i = 0; i < n; ++i) {
      const Creation made = try_create(context, params);
      if (made.raw != nullptr) context.component.table->destroy(made.raw);
    }
  };
  make(50);  // caches fill up once
  const std::size_t before = heap_in_use();
  make(context.options.instances);
  const std::size_t after = heap_in_use();
  constexpr std::size_t kTolerated = 4096;
  if (after > before + kTolerated) {
    return cat("after create and destroy ", context.options.instances, " times, ", after - before,
               " more bytes are in use; expected none");
  }
  return {};
}

// ---- the process as a whole ------------------------------------------------------------------------------------------

// What a plugin must leave as it was.
struct ProcessState {
  std::string directory, locale;
  int rounding;
  static ProcessState now() {
    std::string directory(4096, '\0');
    if (::getcwd(directory.data(), directory.size()) == nullptr) directory.clear();
    return {directory.c_str(), std::setlocale(LC_ALL, nullptr), std::fegetround()};
  }
};

void check_component(const Component& component, const graft_host* host, const CheckOptions& options,
                     Journal& journal) {
  CheckContext context(component, host, options, journal);
  const ProcessState before = ProcessState::now();
  context.check("interface ids", [&] { return check_interface_ids(context); });
  context.check("broken parameters", [&] { return check_broken_params(context); });
  context.check("random parameters", [&] { return check_random_params(context); });
  context.check("create and destroy", [&] { return check_leaks(context); });
  if (component.kind == GRAFT_KIND_REWARD) check_reward(context);
  if (component.kind == GRAFT_KIND_CHECKPOINT_POLICY) check_checkpoint_policy(context);
  if (component.kind == GRAFT_KIND_PEFT) check_peft(context);
  if (component.kind == GRAFT_KIND_MODEL_FAMILY) check_model_family(context);
  context.check("process state", [&]() -> std::string {
    const ProcessState after = ProcessState::now();
    if (after.directory != before.directory) return "changed the working directory, expected to leave it";
    if (after.locale != before.locale) return "changed the locale, expected to leave it";
    if (after.rounding != before.rounding) return "changed the rounding mode, expected to leave it";
    return {};
  });
}

void check_all(const std::filesystem::path& path, const graft_host* host, const CheckOptions& options,
               Journal& journal) {
  journal.begin("", "load");
  const Library* library = nullptr;
  try {
    library = &open_library(path, host);
  } catch (const support::Error& error) {
    journal.add({Level::kFail, "", "load", error.what()});
    return;
  }
  journal.add({Level::kPass, "", "load", cat(library->name, " ", library->version)});
  for (const Component& component : components_of(*library))
    check_component(component, host, options, journal);
}

const char* level_word(Level level) {
  switch (level) {
    case Level::kPass:
      return "pass";
    case Level::kWarn:
      return "warn";
    case Level::kFail:
      return "FAIL";
  }
  return "";
}

}  // namespace

CheckReport check_plugin(const std::filesystem::path& file, const graft_host* host,
                         const CheckOptions& options) {
  CheckReport report{file, options.seed, {}};
  std::filesystem::path path;
  try {
    path = canonical_plugin_path(file);
  } catch (const support::PluginError& error) {
    report.findings.push_back({Level::kFail, "", "load", error.what()});
    return report;
  }
  Journal journal;
  const ChildResult child = run_in_child(
      [&]() -> std::string {
        check_all(path, host, options, journal);
        return {};
      },
      options.limit);
  report.findings = journal.findings();
  if (child.outcome != ChildResult::Outcome::kReturned) {
    CheckFinding finding = journal.under_way();
    finding.level = Level::kFail;
    finding.detail = child.description();
    report.findings.push_back(std::move(finding));
  }
  return report;
}

std::size_t CheckReport::count(Level level) const {
  return static_cast<std::size_t>(std::ranges::count(findings, level, &CheckFinding::level));
}

std::string CheckReport::text() const {
  std::string out = cat("plugin ", file, "\n");
  std::string last;
  for (const CheckFinding& finding : findings) {
    if (finding.component != last) out += cat(" ", finding.component, "\n");
    last = finding.component;
    out += cat("  ", level_word(finding.level), "  ", finding.check);
    if (!finding.detail.empty()) out += cat(": ", finding.detail);
    out += "\n";
  }
  return out + cat(count(Level::kPass), " passed, ", count(Level::kWarn), " warnings, ", count(Level::kFail),
                   " failed (seed ", seed, ")\n");
}

nlohmann::json CheckReport::json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const CheckFinding& finding : findings) {
    list.push_back({{"level", support::to_lower(level_word(finding.level))},
                    {"component", finding.component},
                    {"check", finding.check},
                    {"detail", finding.detail}});
  }
  return {{"file", file.string()}, {"seed", seed}, {"passed", passed()}, {"findings", list}};
}

}  // namespace graft::plugin
