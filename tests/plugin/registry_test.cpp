// SPDX-License-Identifier: Apache-2.0
// The registry over plugins of this tree, and where it looks for files. tests/abi has the broken ones.
#include "plugin/registry.h"

#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "plugin/host_services.h"
#include "plugin/interfaces.h"
#include "plugin/library.h"
#include "plugin/search_path.h"
#include "support/error.h"

namespace graft::plugin {
namespace {

namespace fs = std::filesystem;

fs::path built(const std::string& name) {
  return fs::path(GRAFT_PLUGIN_DIR) / (name + ".so");
}

// Sets an environment variable for one test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Environment() { ::unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(fs::temp_directory_path() / ("graft_" + name + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

template <typename Body>
std::string plugin_error(Body body) {
  try {
    body();
  } catch (const support::PluginError& error) {
    return error.what();
  }
  return {};
}

std::vector<std::int32_t> plan(const Instance& policy, const std::vector<std::int32_t>& parents) {
  std::vector<graft_segment_info> segments(parents.size());
  std::vector<const graft_segment_info*> pointers;
  for (std::size_t i = 0; i < parents.size(); ++i) {
    segments[i] = {};
    segments[i].hdr = GRAFT_HDR(graft_segment_info);
    segments[i].parent = parents[i];
    pointers.push_back(&segments[i]);
  }
  std::vector<std::int32_t> decisions(parents.size(), -1);
  const auto& table = policy.interface<graft_checkpoint_policy>(GRAFT_INTERFACE_CHECKPOINT_POLICY);
  call("policy", [&](graft_error* error) {
    return table.plan(policy.raw(), pointers.data(), pointers.size(), 0, decisions.data(), error);
  });
  return decisions;
}

TEST(Registry, FindsThePluginsOfTheBuildTree) {
  Registry registry(host_table());
  registry.add_default_search_path();
  const Component& none = registry.find("checkpoint_policy", "none");
  EXPECT_EQ(none.label(), "checkpoint_policy none");
  EXPECT_EQ(none.library, fs::canonical(built("none")));
  const std::vector<std::int32_t> parents = {-1, 0, 0, -1, 3};
  EXPECT_EQ(plan(*registry.create(none, {}, "test"), parents), (std::vector<std::int32_t>{0, 0, 0, 0, 0}));
  const Component& full = registry.find("checkpoint_policy", "full");
  EXPECT_EQ(plan(*registry.create(full, {}, "test"), parents), (std::vector<std::int32_t>{1, 0, 0, 1, 0}));
}

TEST(Registry, ListsEachComponentOnceSorted) {
  Registry registry(host_table());
  registry.add_default_search_path();
  registry.load(built("none"));
  const std::vector<Component> all = registry.list();
  for (std::size_t i = 1; i < all.size(); ++i) {
    EXPECT_LT(std::tie(all[i - 1].kind, all[i - 1].name), std::tie(all[i].kind, all[i].name));
  }
  const std::vector<Component> policies = registry.list("checkpoint_policy");
  ASSERT_GE(policies.size(), 2U);
  EXPECT_LT(policies.size(), all.size());
}

TEST(Registry, AnUnknownNameComesWithTheNearestOne) {
  Registry registry(host_table());
  registry.add_default_search_path();
  const std::string typo =
      plugin_error([&] { static_cast<void>(registry.find("checkpoint_policy", "nnoe")); });
  EXPECT_NE(typo.find("no checkpoint_policy is named \"nnoe\""), std::string::npos) << typo;
  EXPECT_NE(typo.find("did you mean \"none\""), std::string::npos) << typo;
  const std::string other_kind = plugin_error([&] { static_cast<void>(registry.find("reward", "none")); });
  EXPECT_NE(other_kind.find("there is a checkpoint_policy of that name"), std::string::npos) << other_kind;
}

TEST(Registry, AnEmptyRegistrySaysWhereToLook) {
  Registry registry(host_table());
  const std::string message = plugin_error([&] { static_cast<void>(registry.find("reward", "iou")); });
  EXPECT_NE(message.find("GRAFT_PLUGIN_PATH"), std::string::npos) << message;
}

TEST(Registry, TheEnvironmentWinsOverTheInstallTreeAndAnExplicitFileOverBoth) {
  const Folder mine("mine");
  const Folder other("other");
  // The copies have other names than the component, as a library of several would.
  fs::copy_file(built("none"), mine.path() / "mine.so");
  fs::copy_file(built("none"), other.path() / "other.so");
  const Environment path("GRAFT_PLUGIN_PATH", mine.path().string());
  Registry registry(host_table());
  registry.add_default_search_path();
  EXPECT_EQ(registry.find("checkpoint_policy", "none").library, fs::canonical(mine.path() / "mine.so"));
  Registry explicit_first(host_table());
  explicit_first.load(other.path() / "other.so");
  explicit_first.add_default_search_path();
  EXPECT_EQ(explicit_first.find("checkpoint_policy", "none").library,
            fs::canonical(other.path() / "other.so"));
  EXPECT_EQ(explicit_first.find("checkpoint_policy", "full").library, fs::canonical(built("full")));
}

TEST(Registry, ABrokenFileOfTheSearchPathMattersOnlyToThoseWhoAskForIt) {
  const Folder folder("broken");
  std::ofstream(folder.path() / "broken.so") << "not a library";
  const Environment path("GRAFT_PLUGIN_PATH", folder.path().string());
  Registry registry(host_table());
  registry.add_default_search_path();
  EXPECT_NO_THROW(static_cast<void>(registry.find("checkpoint_policy", "none")));
  const std::string missing =
      plugin_error([&] { static_cast<void>(registry.find("reward", "no_such_reward")); });
  EXPECT_NE(missing.find("not loaded: plugin "), std::string::npos) << missing;
  Registry again(host_table());
  again.add_default_search_path();
  const std::string asked = plugin_error([&] { static_cast<void>(again.find("reward", "broken")); });
  EXPECT_NE(asked.find("cannot be loaded"), std::string::npos) << asked;
}

TEST(SearchPath, AnEntryThatDoesNotExistIsTheUsersError) {
  const Environment path("GRAFT_PLUGIN_PATH", "/no/such/folder");
  EXPECT_THROW(default_search_path(), support::UserError);
}

TEST(SearchPath, TakesFilesAndFoldersInOrder) {
  const Environment path("GRAFT_PLUGIN_PATH", built("none").string() + "::" + GRAFT_PLUGIN_DIR);
  const std::vector<PluginFiles> groups = default_search_path();
  ASSERT_EQ(groups.size(), 3U);
  EXPECT_EQ(groups[1], PluginFiles{built("none")});
  EXPECT_EQ(groups[2].size(), groups[0].size());
}

TEST(LoadLimit, IsReadFromTheEnvironment) {
  EXPECT_EQ(load_limit(), std::chrono::seconds(20));
  {
    const Environment limit("GRAFT_PLUGIN_LOAD_SECONDS", "1.5");
    EXPECT_NEAR(static_cast<double>(load_limit().count()), 1500.0, 1.0);
  }
  for (const char* bad : {"soon", "0", "-1", "1e9"}) {
    const Environment limit("GRAFT_PLUGIN_LOAD_SECONDS", bad);
    EXPECT_THROW(load_limit(), support::UserError) << bad;
  }
}

TEST(Interfaces, EveryKindHasOne) {
  for (const char* kind :
       {GRAFT_KIND_MODEL_FAMILY, GRAFT_KIND_PEFT, GRAFT_KIND_CHECKPOINT_POLICY, GRAFT_KIND_REWARD}) {
    const Interface* interface = interface_of(kind);
    ASSERT_NE(interface, nullptr) << kind;
    EXPECT_LE(interface->least_size, interface->size);
    for (const Slot& slot : interface->required) EXPECT_LT(slot.offset, interface->least_size) << slot.name;
  }
  EXPECT_EQ(interface_of("optimizer"), nullptr);
}

// A component without a library behind it, which counts its instances.
int alive = 0;

graft_component counting_table() {
  graft_component table{};
  table.hdr = GRAFT_HDR(graft_component);
  table.create = [](const graft_component*, const graft_host*, graft_str, graft_instance** out,
                    graft_error*) {
    *out = reinterpret_cast<graft_instance*>(&alive);
    ++alive;
    return GRAFT_OK;
  };
  table.destroy = [](graft_instance*) { --alive; };
  table.get_interface = [](const graft_component*, graft_str) -> const void* { return nullptr; };
  return table;
}

TEST(Instance, IsDestroyedOnceWithTheLastReference) {
  const graft_component table = counting_table();
  const Component component{&table, &table, "reward", "counting", "1.0.0", "", {}};
  Registry registry(host_table());
  std::shared_ptr<Instance> first = registry.create(component, {}, "test");
  std::shared_ptr<Instance> second = first;
  EXPECT_EQ(alive, 1);
  first.reset();
  EXPECT_EQ(alive, 1);
  second.reset();
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace graft::plugin
