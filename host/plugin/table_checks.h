// SPDX-License-Identifier: Apache-2.0
// The checks on the data that a library shows. Each throws PluginError "plugin FILE: FIELD is FOUND, expected EXPECTED".
#pragma once

#include <graft/plugin.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace graft::plugin {

// Names the file in every message.
class TableChecks {
 public:
  explicit TableChecks(const std::filesystem::path& file) : file_(file.string()) {}

  [[noreturn]] void refuse(std::string_view reason) const;

  // Everything in the manifest, before any other code of the library runs.
  void manifest(const graft_manifest* manifest) const;
  // What init() returned.
  void library(const graft_library* library) const;
  // One entry of the component list; `where` is such as "component 0". Leaves the kind's interface to interfaces().
  void component(const graft_component* component, const std::string& where) const;
  // The interface that the component's kind requires, all of its slots included.
  void required_interface(const graft_component& component, const graft_component* self,
                          const std::string& where) const;

 private:
  void header(const graft_hdr& hdr, std::size_t least, const std::string& field) const;
  void text(graft_str text, const std::string& field, std::size_t most) const;
  void identifier(graft_str text, const std::string& field) const;
  void schema(graft_str text, const std::string& field) const;
  std::string file_;
};

}  // namespace graft::plugin
