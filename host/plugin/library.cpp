// SPDX-License-Identifier: Apache-2.0
#include "plugin/library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "plugin/child.h"
#include "plugin/host_services.h"
#include "plugin/interfaces.h"
#include "plugin/table_checks.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

std::string last_dl_error() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "unknown reason";
}

// Boost.DLL takes a path that names the running program for "the program itself".
bool is_running_program(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path program = boost::dll::program_location(error);
  return !error && std::filesystem::equivalent(path, program, error) && !error;
}

// dlsym also searches the library's dependencies, and knows neither the type of a symbol nor that it is a function.
graft_plugin_manifest_fn entry_function(void* handle, const std::filesystem::path& path,
                                        const TableChecks& checks) {
  ::dlerror();
  void* address = ::dlsym(handle, GRAFT_ENTRY_SYMBOL);
  if (address == nullptr) {
    checks.refuse("exports no function " GRAFT_ENTRY_SYMBOL
                  "; this is not a graft plugin, or it was built with hidden "
                  "symbols and without GRAFT_EXPORT");
  }
  Dl_info info{};
  void* extra = nullptr;
  if (::dladdr1(address, &info, &extra, RTLD_DL_SYMENT) == 0 || info.dli_fname == nullptr) {
    checks.refuse("the address of " GRAFT_ENTRY_SYMBOL " belongs to no loaded file");
  }
  std::error_code error;
  if (!std::filesystem::equivalent(info.dli_fname, path, error) || error) {
    checks.refuse(cat(GRAFT_ENTRY_SYMBOL " comes from ", info.dli_fname,
                      ", a library it depends on, expected from the file itself"));
  }
  const auto* symbol = static_cast<const ElfW(Sym)*>(extra);
  if (symbol != nullptr && ELF64_ST_TYPE(symbol->st_info) != STT_FUNC) {
    checks.refuse("the symbol " GRAFT_ENTRY_SYMBOL " is data, expected a function");
  }
  return reinterpret_cast<graft_plugin_manifest_fn>(address);
}

// Never closed, and NODELETE besides: autograd nodes and threads may outlive everything that could close it. The list
// is there for leak checkers, which report what nothing points to.
void* keep_forever(std::unique_ptr<boost::dll::shared_library> library) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::unique_ptr<boost::dll::shared_library>>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(library));
  return kept->back()->native();
}

void* open_handle(const std::filesystem::path& path, const TableChecks& checks) {
  if (is_running_program(path)) checks.refuse("is the running program, expected a shared library");
  namespace dll = boost::dll;
  auto library = std::make_unique<dll::shared_library>();
  std::error_code error;
  ::dlerror();
  library->load(path, error,
                dll::load_mode::rtld_now | dll::load_mode::rtld_local |
                    static_cast<dll::load_mode::type>(RTLD_NODELETE));
  if (error) {
    const std::string reason = last_dl_error();
    checks.refuse(cat("cannot be loaded: ", support::replace_all(reason, path.string() + ": ", "")));
  }
  return keep_forever(std::move(library));
}

graft_component prefix_copy(const graft_component& theirs) {
  graft_component ours{};
  std::memcpy(&ours, &theirs, std::min<std::size_t>(theirs.hdr.struct_size, sizeof(ours)));
  ours.hdr.struct_size = sizeof(ours);
  return ours;
}

std::vector<std::unique_ptr<const LoadedComponent>> read_components(const graft_library& library,
                                                                    const TableChecks& checks) {
  std::vector<std::unique_ptr<const LoadedComponent>> components;
  std::set<std::pair<std::string, std::string>> seen;
  for (std::uint64_t i = 0; i < library.n_components; ++i) {
    const graft_component* theirs = library.components[i];
    checks.component(theirs, cat("component ", i));
    auto loaded = std::make_unique<LoadedComponent>(LoadedComponent{prefix_copy(*theirs), theirs});
    const std::string kind(view(theirs->kind));
    const std::string name(view(theirs->name));
    const std::string where = cat("component ", i, " (", kind, " ", name, ")");
    if (!seen.emplace(kind, name).second) {
      checks.refuse(cat(where, ".name is used twice for this kind, expected unique names"));
    }
    if (interface_of(kind) == nullptr) {
      support::log_warn(cat(where, " of a plugin is of a kind that this host does not know; it is left out"));
      continue;
    }
    checks.required_interface(loaded->table, theirs, where);
    components.push_back(std::move(loaded));
  }
  return components;
}

// A map that is never destroyed; one lock for all loading.
struct Cache {
  std::mutex mutex;
  std::map<std::filesystem::path, std::unique_ptr<const Library>> libraries;
  std::map<std::pair<const graft_component*, std::string>, std::unique_ptr<std::byte[]>> interfaces;
};

Cache& cache() {
  static auto* const instance = new Cache;
  return *instance;
}

}  // namespace

std::filesystem::path canonical_plugin_path(const std::filesystem::path& file) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::canonical(file, error);
  if (error) throw support::PluginError(cat("plugin ", file, ": cannot be opened: ", error.message()));
  if (!std::filesystem::is_regular_file(path, error)) {
    throw support::PluginError(cat("plugin ", file, ": is not a regular file, expected a shared library"));
  }
  return path;
}

const Library& open_library(const std::filesystem::path& path, const graft_host* host) {
  const TableChecks checks(path);
  const graft_manifest* manifest = entry_function(open_handle(path, checks), path, checks)();
  checks.manifest(manifest);

  const graft_library* library = nullptr;
  call(cat("plugin ", path, ": init() failed"),
       [&](graft_error* error) { return manifest->init(host, &library, error); });
  checks.library(library);

  auto loaded = std::make_unique<Library>();
  loaded->path = path;
  loaded->name = view(manifest->name);
  loaded->version = view(manifest->version);
  loaded->components = read_components(*library, checks);
  const std::lock_guard lock(cache().mutex);
  return *cache().libraries.insert_or_assign(path, std::move(loaded)).first->second;
}

const Library& load_library(const std::filesystem::path& file, const graft_host* host,
                            std::chrono::milliseconds limit) {
  const std::filesystem::path path = canonical_plugin_path(file);
  {
    const std::lock_guard lock(cache().mutex);
    const auto found = cache().libraries.find(path);
    if (found != cache().libraries.end()) return *found->second;
  }
  const ChildResult probe = run_in_child(
      [&]() -> std::string {
        try {
          open_library(path, host);
          return {};
        } catch (const support::Error& error) {
          return error.what();
        }
      },
      limit);
  if (probe.outcome == ChildResult::Outcome::kTimedOut) {
    TableChecks(path).refuse(cat(
        "did not finish loading within ", support::human_duration(static_cast<double>(limit.count()) / 1000),
        " (GRAFT_PLUGIN_LOAD_SECONDS); it was tried in a child process, which was ended"));
  }
  if (probe.outcome != ChildResult::Outcome::kReturned) {
    TableChecks(path).refuse(cat("while being loaded in a child process it ", probe.description()));
  }
  if (!probe.result.empty()) throw support::PluginError(probe.result);
  return open_library(path, host);
}

std::vector<Component> components_of(const Library& library) {
  std::vector<Component> components;
  for (const auto& loaded : library.components) {
    const graft_component& table = loaded->table;
    components.push_back({&table, loaded->self, std::string(view(table.kind)), std::string(view(table.name)),
                          std::string(view(table.version)), std::string(view(table.summary)), library.path});
  }
  return components;
}

std::chrono::milliseconds load_limit() {
  const char* text = std::getenv("GRAFT_PLUGIN_LOAD_SECONDS");
  if (text == nullptr || *text == '\0') return std::chrono::seconds(20);
  double seconds = 0;
  if (!support::parse_number(text, seconds) || !(seconds > 0) || seconds > 3600) {
    throw support::UserError(cat("GRAFT_PLUGIN_LOAD_SECONDS is \"", text,
                                 "\", expected a number of seconds above 0, at most 3600"));
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000) + 1);
}

const void* interface_copy(const graft_component* self, std::string_view id, std::size_t size) {
  // The plugin's function is called without the lock: it may be slow, and must be able to call back.
  const auto* theirs = static_cast<const graft_hdr*>(self->get_interface(self, view(id)));
  if (theirs == nullptr) return nullptr;
  const std::lock_guard lock(cache().mutex);
  std::unique_ptr<std::byte[]>& copy = cache().interfaces[{self, std::string(id)}];
  if (copy == nullptr) {
    copy = std::make_unique<std::byte[]>(size);
    std::memcpy(copy.get(), theirs, std::min<std::size_t>(theirs->struct_size, size));
    const auto filled = static_cast<std::uint32_t>(size);
    std::memcpy(copy.get() + offsetof(graft_hdr, struct_size), &filled, sizeof(filled));
  }
  return copy.get();
}

}  // namespace graft::plugin
