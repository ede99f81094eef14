// SPDX-License-Identifier: Apache-2.0
// Well-formed libraries: what the registry makes of them, and rewards in plain C scored through it.
#include <graft/reward.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plugin/check.h"
#include "plugin/host_services.h"
#include "plugin/registry.h"
#include "support/error.h"

namespace graft::plugin {
namespace {

namespace fs = std::filesystem;

fs::path corpus(const std::string& name) {
  return fs::path(GRAFT_CORPUS) / (name + ".so");
}

// Scores of completions by one reward with one score.
std::vector<double> score(const Instance& reward, const std::vector<std::string>& completions) {
  std::vector<graft_reward_item> items(completions.size());
  std::vector<const graft_reward_item*> pointers;
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i] = {};
    items[i].hdr = GRAFT_HDR(graft_reward_item);
    items[i].completion = view(completions[i]);
    pointers.push_back(&items[i]);
  }
  const graft_reward_batch batch{GRAFT_HDR(graft_reward_batch), pointers.data(), pointers.size(), 0};
  std::vector<double> scores(items.size());
  std::vector<std::int32_t> statuses(items.size());
  const graft_reward_result result{
      GRAFT_HDR(graft_reward_result), scores.data(), statuses.data(), nullptr, nullptr, nullptr};
  const auto& table = reward.interface<graft_reward>(GRAFT_INTERFACE_REWARD);
  call("reward", [&](graft_error* error) { return table.score(reward.raw(), &batch, &result, error); });
  return scores;
}

TEST(Loading, AGoodLibraryGivesItsComponents) {
  Registry registry(host_table());
  registry.load(corpus("good"));
  const std::vector<Component> all = registry.list("reward");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "corpus_one");
  EXPECT_EQ(all[0].version, "1.2.3");
  EXPECT_EQ(all[0].summary, "a reward for tests");
  EXPECT_EQ(all[0].library, fs::canonical(corpus("good")));
  EXPECT_EQ(all[1].name, "corpus_two");
  EXPECT_TRUE(registry.list("peft").empty());
}

TEST(Loading, LargerStructsOfANewerMinorVersionAreAccepted) {
  Registry registry(host_table());
  registry.load(corpus("larger_structs"));
  const auto reward = registry.create(registry.find("reward", "corpus_one"), {}, "test");
  EXPECT_EQ(score(*reward, {"a", ""}), (std::vector<double>{0.5, 0.75}));
  // The copy has the host's size, so that later code need not ask.
  const auto& table = reward->interface<graft_reward>(GRAFT_INTERFACE_REWARD);
  EXPECT_EQ(table.hdr.struct_size, sizeof(graft_reward));
  EXPECT_EQ(reward->component().table->hdr.struct_size, sizeof(graft_component));
}

TEST(Loading, AComponentOfAnUnknownKindIsLeftOut) {
  Registry registry(host_table());
  registry.load(corpus("unknown_kind"));
  const std::vector<Component> all = registry.list();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].name, "corpus_two");
}

TEST(Loading, ParametersAreCheckedFilledInAndRecorded) {
  Registry registry(host_table());
  registry.load(corpus("good"));
  const Component& component = registry.find("reward", "corpus_one");
  nlohmann::json resolved;
  const auto defaults = registry.create(component, nlohmann::json::object(), "rewards.0.params", &resolved);
  EXPECT_EQ(resolved, (nlohmann::json{{"bonus", 0.25}}));
  EXPECT_EQ(score(*defaults, {"", "x"}), (std::vector<double>{0.75, 0.5}));
  const auto given = registry.create(component, {{"bonus", 0.5}}, "rewards.0.params", &resolved);
  EXPECT_EQ(score(*given, {""}), std::vector<double>{1.0});

  const auto message = [&](const nlohmann::json& params) -> std::string {
    try {
      const auto made = registry.create(component, params, "rewards.0.params");
    } catch (const support::UserError& error) {
      return error.what();
    }
    return {};
  };
  EXPECT_NE(message({{"bonsu", 0.1}}).find("\"bonus\""), std::string::npos) << message({{"bonsu", 0.1}});
  EXPECT_NE(message({{"bonus", "much"}}).find("bonus"), std::string::npos);
  // Passes the schema but not the component: still the user's to correct, so no PluginError.
  EXPECT_NE(message({{"bonus", 7}}).find("bonus is out of range"), std::string::npos);
  EXPECT_NE(message({{"bonus", 7}}).find("rewards.0.params"), std::string::npos);
}

TEST(Loading, AnInterfaceThatIsNotOfferedIsAnError) {
  Registry registry(host_table());
  registry.load(corpus("good"));
  const Component& component = registry.find("reward", "corpus_one");
  EXPECT_THROW(static_cast<void>(component.interface<graft_reward>("graft.reward/2")), support::PluginError);
}

TEST(Loading, ALibraryIsOpenedOncePerProcess) {
  Registry first(host_table());
  Registry second(host_table());
  first.load(corpus("good"));
  second.load(fs::path(GRAFT_CORPUS) / ".." / "corpus" / "good.so");  // the same file by another name
  EXPECT_EQ(first.find("reward", "corpus_one").table, second.find("reward", "corpus_one").table);
}

TEST(Loading, TheCorpusItselfPassesTheConformanceSuite) {
  const CheckReport report = check_plugin(corpus("good"), host_table());
  EXPECT_TRUE(report.passed()) << report.text();
}

TEST(Loading, ARewardInPlainCScores) {
  Registry registry(host_table());
  registry.load(GRAFT_BREVITY);
  const auto reward = registry.create(registry.find("reward", "brevity"), {{"limit", 10}}, "test");
  EXPECT_EQ(score(*reward, {"", "12345", "0123456789abc"}), (std::vector<double>{1.0, 0.5, 0.0}));
}

// Run by outside.sh: plugins that were built from the installed headers alone.
TEST(Outside, PluginsBuiltFromTheInstalledHeadersLoadAndScore) {
  const char* folder = std::getenv("GRAFT_OUTSIDE");
  if (folder == nullptr) GTEST_SKIP() << "outside.sh sets GRAFT_OUTSIDE";
  Registry registry(host_table());
  registry.load(fs::path(folder) / "brevity.so");
  registry.load(fs::path(folder) / "clip.so");
  const auto brevity = registry.create(registry.find("reward", "brevity"), {}, "test");
  EXPECT_EQ(score(*brevity, {std::string(100, 'x')}), std::vector<double>{0.5});
  const auto clip = registry.create(registry.find("reward", "clip"), {}, "test");
  EXPECT_EQ(score(*clip, {"a"}), std::vector<double>{1.0});
  for (const char* file : {"brevity.so", "clip.so"}) {
    const CheckReport report = check_plugin(fs::path(folder) / file, host_table());
    EXPECT_TRUE(report.passed()) << report.text();
  }
}

}  // namespace
}  // namespace graft::plugin
