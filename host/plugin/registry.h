// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <graft/plugin.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace graft::plugin {

// A component of a loaded library. The pointers live as long as the process.
struct Component {
  const graft_component* table;  // normalised copy: every required slot is set
  const graft_component* self;   // the plugin's own table: what the functions of `table` take as `self`
  std::string kind;
  std::string name;
  std::string version;
  std::string summary;
  std::filesystem::path library;  // canonical path of the file that carries it

  // "reward iou": for messages.
  [[nodiscard]] std::string label() const;
  // The vtable of `id`, normalised to the host's size (slots the plugin does not know are null); throws PluginError when
  // the component does not offer it. T is the vtable's struct. Costs a look-up: keep the reference. Any thread.
  template <typename T>
  [[nodiscard]] const T& interface(std::string_view id) const {
    return *static_cast<const T*>(interface_table(id, sizeof(T)));
  }

 private:
  [[nodiscard]] const void* interface_table(std::string_view id, std::size_t size) const;
};

// An instance of a component; destroys it with the last reference. Autograd nodes hold a reference too, so an instance
// outlives every graph that calls back into it.
class Instance {
 public:
  Instance(const Component& component, graft_instance* raw);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  [[nodiscard]] graft_instance* raw() const { return raw_; }
  [[nodiscard]] const Component& component() const { return component_; }
  // See Component::interface.
  template <typename T>
  [[nodiscard]] const T& interface(std::string_view id) const {
    return component_.interface<T>(id);
  }

 private:
  Component component_;
  graft_instance* raw_;
};

// All plugins of the process. Libraries are never unloaded. Not thread-safe: control thread only.
class Registry {
 public:
  // Creates the registry over `host`, the table that plugins receive (see plugin/host_services.h).
  explicit Registry(const graft_host* host);

  // Loads one library in the safe order (child-process probe, RTLD_NOW | LOCAL | NODELETE, dladdr check, manifest checks,
  // init, normalised tables) and adds its components. Throws PluginError naming the file, field, found and expected.
  void load(const std::filesystem::path& file);
  // Adds the plugins of the install tree, of GRAFT_PLUGIN_PATH (colon-separated files or folders), lazily: a library is
  // opened when a component is asked for. Later entries win over earlier ones of the same kind and name.
  void add_default_search_path();

  [[nodiscard]] const Component& find(std::string_view kind,
                                      std::string_view name);             // PluginError with nearest names
  [[nodiscard]] std::vector<Component> list(std::string_view kind = {});  // sorted by kind and name
  // Validates `params` against the component's schema, fills defaults, creates. `where` names the config key in errors.
  // On success *resolved (optional) receives the full parameters.
  [[nodiscard]] std::shared_ptr<Instance> create(const Component& component, const nlohmann::json& params,
                                                 const std::string& where,
                                                 nlohmann::json* resolved = nullptr);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace graft::plugin
