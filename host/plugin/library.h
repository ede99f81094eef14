// SPDX-License-Identifier: Apache-2.0
// One shared library: opened, checked field by field, initialised, and its tables copied into the host's own layout.
#pragma once

#include <graft/plugin.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/registry.h"

namespace graft::plugin {

// A component as the host works with it.
struct LoadedComponent {
  graft_component table;        // zero-filled copy: fields that the plugin does not know are zero
  const graft_component* self;  // the plugin's own table, which its functions take as `self`
};

// Lives as long as the process.
struct Library {
  std::filesystem::path path;  // canonical
  std::string name;
  std::string version;
  std::vector<std::unique_ptr<const LoadedComponent>> components;  // of kinds that this host knows
};

// Opens the library in this process: RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE, then the checks, then init(). `path` is
// canonical. Throws PluginError naming file, field, what was found and what was expected. A library that crashes takes the
// process with it: see load_library.
const Library& open_library(const std::filesystem::path& path, const graft_host* host);

// The same after open_library has succeeded in a child process within `limit`. A library is opened once per process; later
// calls return the first result.
const Library& load_library(const std::filesystem::path& file, const graft_host* host,
                            std::chrono::milliseconds limit);

// The components of a library, as the registry hands them out.
std::vector<Component> components_of(const Library& library);

// How long a library may take to load: GRAFT_PLUGIN_LOAD_SECONDS, 20 if it is not set.
std::chrono::milliseconds load_limit();

// Canonical path of an existing regular file; throws PluginError otherwise.
std::filesystem::path canonical_plugin_path(const std::filesystem::path& file);

// A zero-filled copy, `size` bytes long, of the vtable that `self` offers as `id`; null if it offers none. Lives as long as
// the process. Any thread.
const void* interface_copy(const graft_component* self, std::string_view id, std::size_t size);

}  // namespace graft::plugin
