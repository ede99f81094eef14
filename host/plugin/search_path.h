// SPDX-License-Identifier: Apache-2.0
// Where plugins are looked for when nobody names a file.
#pragma once

#include <filesystem>
#include <vector>

namespace graft::plugin {

// Files that belong together: one folder's *.so, or one named file. Later groups win over earlier ones.
using PluginFiles = std::vector<std::filesystem::path>;

// The install tree's plugins (`../lib/graft/plugins` and `graft/plugins` seen from the file that holds this code,
// libgraft.so or the program), then the entries of GRAFT_PLUGIN_PATH (colon-separated files or folders) in their
// order. Throws UserError for an entry that does not exist.
std::vector<PluginFiles> default_search_path();

}  // namespace graft::plugin
