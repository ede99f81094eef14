// SPDX-License-Identifier: Apache-2.0
#include "plugin/registry.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "config/schema.h"
#include "plugin/host_services.h"
#include "plugin/interfaces.h"
#include "plugin/library.h"
#include "plugin/search_path.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::plugin {

using support::cat;

// ---- Component and Instance ------------------------------------------------------------------------------------------

std::string Component::label() const {
  return cat(kind, " ", name);
}

const void* Component::interface_table(std::string_view id, std::size_t size) const {
  const void* vtable = interface_copy(self, id, size);
  if (vtable == nullptr) {
    throw support::PluginError(cat(label(), " (", library, ") does not offer the interface ", id));
  }
  return vtable;
}

Instance::Instance(const Component& component, graft_instance* raw) : component_(component), raw_(raw) {}

Instance::~Instance() {
  component_.table->destroy(raw_);
}

// ---- Registry --------------------------------------------------------------------------------------------------------

namespace {

// Explicitly loaded libraries win over those of the search path, whichever came first.
constexpr int kExplicitRank = 1'000'000;

struct Entry {
  Component component;
  int rank;
};

struct Pending {
  std::filesystem::path file;
  int rank;
};

bool is_named(const Pending& pending, std::string_view name) {
  return pending.file.stem() == name;
}

}  // namespace

struct Registry::State {
  const graft_host* host;
  std::deque<Entry> entries;        // in the order of loading; find() hands out references
  std::vector<Pending> pending;     // of the search path, not opened yet
  std::vector<std::string> broken;  // why files of the search path could not be opened
  int next_rank = 0;

  void open(const std::filesystem::path& file, int rank) {
    for (Component& component : components_of(load_library(file, host, load_limit()))) {
      entries.push_back({std::move(component), rank});
    }
  }

  // Opens the pending files that `wanted` selects. A file that happens to be broken must not stop a run that does not
  // need it, so that is a warning unless `strict`.
  template <typename Predicate>
  void open_pending(Predicate wanted, bool strict) {
    std::vector<Pending> selected;
    std::erase_if(pending, [&](const Pending& candidate) {
      const bool is_wanted = wanted(candidate);
      if (is_wanted) selected.push_back(candidate);
      return is_wanted;
    });
    for (const Pending& candidate : selected) {
      try {
        open(candidate.file, candidate.rank);
      } catch (const support::PluginError& error) {
        if (strict) throw;
        support::log_warn(cat("left out: ", error.what()));
        broken.emplace_back(error.what());
      }
    }
  }

  // The entry with the highest rank; of equal ones the last loaded.
  const Entry* best(std::string_view kind, std::string_view name) const {
    const Entry* found = nullptr;
    for (const Entry& entry : entries) {
      if (entry.component.kind != kind || entry.component.name != name) continue;
      if (found == nullptr || entry.rank >= found->rank) found = &entry;
    }
    return found;
  }

  [[noreturn]] void not_found(std::string_view kind, std::string_view name) const {
    std::vector<std::string> names;
    std::string other_kind;
    for (const Entry& entry : entries) {
      if (entry.component.kind == kind) names.push_back(entry.component.name);
      if (entry.component.name == name) other_kind = entry.component.kind;
    }
    std::ranges::sort(names);
    names.erase(std::unique(names.begin(), names.end()), names.end());
    std::string message = cat("no ", kind, " is named \"", name, "\"", support::did_you_mean(name, names));
    if (!other_kind.empty()) message += cat("; there is a ", other_kind, " of that name");
    message += names.empty() ? cat("; no plugin offers a ", kind, ": is GRAFT_PLUGIN_PATH right?")
                             : cat("; known: ", support::join(names, ", "));
    if (!broken.empty()) message += cat("; not loaded: ", support::join(broken, "; "));
    throw support::PluginError(message);
  }
};

Registry::Registry(const graft_host* host) : state_(std::make_shared<State>()) {
  state_->host = host;
}

void Registry::load(const std::filesystem::path& file) {
  state_->open(file, kExplicitRank);
}

void Registry::add_default_search_path() {
  for (PluginFiles& group : default_search_path()) {
    const int rank = state_->next_rank++;
    for (std::filesystem::path& file : group) state_->pending.push_back({std::move(file), rank});
  }
}

const Component& Registry::find(std::string_view kind, std::string_view name) {
  State& state = *state_;
  state.open_pending([&](const Pending& file) { return is_named(file, name); }, true);
  // A file of any name that ranks higher may offer it too.
  const Entry* found = state.best(kind, name);
  const int rank = found != nullptr ? found->rank : -1;
  state.open_pending([&](const Pending& file) { return file.rank > rank; }, false);
  found = state.best(kind, name);
  if (found == nullptr) state.not_found(kind, name);
  return found->component;
}

std::vector<Component> Registry::list(std::string_view kind) {
  state_->open_pending([](const Pending&) { return true; }, false);
  std::vector<Component> components;
  for (const Entry& entry : state_->entries) {
    const Component& component = entry.component;
    const bool is_wanted = kind.empty() || component.kind == kind;
    if (is_wanted && state_->best(component.kind, component.name) == &entry) components.push_back(component);
  }
  std::ranges::sort(components, [](const Component& a, const Component& b) {
    return std::tie(a.kind, a.name) < std::tie(b.kind, b.name);
  });
  return components;
}

std::shared_ptr<Instance> Registry::create(const Component& component, const nlohmann::json& params,
                                           const std::string& where, nlohmann::json* resolved) {
  const std::string_view schema_text = view(component.table->params_schema);
  const nlohmann::json schema =
      schema_text.empty() ? nlohmann::json::object() : nlohmann::json::parse(schema_text);
  const std::string who = cat(component.label(), " (", where, ")");
  nlohmann::json full =
      config::resolve_params(schema, params.is_null() ? nlohmann::json::object() : params, who);
  const std::string text = full.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);

  graft_instance* raw = nullptr;
  graft_status status = GRAFT_OK;
  try {
    call(who, [&](graft_error* error) {
      status = component.table->create(component.self, state_->host, view(text), &raw, error);
      return status;
    });
  } catch (const support::PluginError& error) {
    // Parameters that pass the schema but not the component are the user's to correct.
    if (status == GRAFT_E_INVALID_ARGUMENT) throw support::UserError(error.what());
    throw;
  }
  if (raw == nullptr) throw support::PluginError(cat(who, ": create() succeeded but made no instance"));
  auto instance = std::make_shared<Instance>(component, raw);
  if (resolved != nullptr) *resolved = std::move(full);
  return instance;
}

}  // namespace graft::plugin
