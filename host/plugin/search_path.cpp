// SPDX-License-Identifier: Apache-2.0
#include "plugin/search_path.h"

#include <boost/dll/runtime_symbol_info.hpp>
#include <cstdlib>
#include <string>
#include <system_error>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

namespace fs = std::filesystem;

// Folder of libgraft.so, or of the program where this code is linked into it.
fs::path home() {
  std::error_code error;
  const fs::path file = boost::dll::this_line_location(error);
  if (error) return {};
  const fs::path canonical = fs::canonical(file, error);
  return error ? fs::path() : canonical.parent_path();
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

}  // namespace

std::vector<PluginFiles> default_search_path() {
  std::vector<PluginFiles> groups;
  const fs::path base = home();
  if (!base.empty()) {
    PluginFiles installed;
    for (const fs::path& folder : {base / "../lib/graft/plugins", base / "graft/plugins"}) {
      // The two name the same folder when this code lies in lib/.
      if (!is_folder(folder) || !installed.empty()) continue;
      installed = support::list_files(fs::canonical(folder), ".so");
    }
    if (!installed.empty()) groups.push_back(std::move(installed));
  }

  const char* given = std::getenv("GRAFT_PLUGIN_PATH");
  for (const std::string& entry : support::split(given != nullptr ? given : "", ':')) {
    if (entry.empty()) continue;
    if (is_folder(entry)) {
      groups.push_back(support::list_files(entry, ".so"));
    } else if (std::error_code error; fs::exists(entry, error)) {
      groups.push_back({entry});
    } else {
      throw support::UserError(support::cat("GRAFT_PLUGIN_PATH: \"", entry,
                                            "\" does not exist, expected a plugin file or a folder of them"));
    }
  }
  return groups;
}

}  // namespace graft::plugin
