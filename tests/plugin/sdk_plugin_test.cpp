// SPDX-License-Identifier: Apache-2.0
// The SDK's frame, seen from the host's side of the ABI: schema, parameters, exception firewall, rewards, policies.
#include <gtest/gtest.h>
#include <graft/sdk/checkpoint_policy.hpp>
#include <graft/sdk/reward.hpp>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/schema.h"
#include "plugin/host_services.h"

namespace graft {
namespace {

Schema all_kinds() {
  return Schema()
      .integer("rank", 8, "rank of the update")
      .minimum(1)
      .number("dropout", 0, "in training")
      .minimum(0)
      .exclusive_maximum(1)
      .boolean("bias", true, "")
      .string("prefix", "a \"b\"", "")
      .choice("space", {"pixels", "unit"}, "unit", "of the boxes")
      .strings("words", {"x", "y"}, "")
      .numbers("weights", {0.5, 1}, "")
      .integers("layers", {}, "");
}

TEST(SdkSchema, IsReadByTheHost) {
  const nlohmann::json schema = nlohmann::json::parse(all_kinds().text());
  const nlohmann::json defaults = config::resolve_params(schema, nlohmann::json::object(), "test");
  EXPECT_EQ(defaults, (nlohmann::json{{"rank", 8},
                                      {"dropout", 0.0},
                                      {"bias", true},
                                      {"prefix", "a \"b\""},
                                      {"space", "unit"},
                                      {"words", {"x", "y"}},
                                      {"weights", {0.5, 1.0}},
                                      {"layers", nlohmann::json::array()}}));
  for (const nlohmann::json& bad : {nlohmann::json{{"rank", 0}},
                                    {{"dropout", 1.0}},
                                    {{"space", "metres"}},
                                    {{"words", {1}}},
                                    {{"rank", 1.5}},
                                    {{"unknown", 1}}}) {
    EXPECT_ANY_THROW(static_cast<void>(config::resolve_params(schema, bad, "test"))) << bad;
  }
}

TEST(SdkSchema, ALimitNeedsAProperty) {
  EXPECT_THROW(Schema().minimum(1), Error);
}

TEST(SdkParams, AreReadByTypeAndName) {
  const nlohmann::json schema = nlohmann::json::parse(all_kinds().text());
  const std::string text = config::resolve_params(schema, {{"layers", {3, 4}}}, "test").dump();
  const Params params(Json::parse(text));
  EXPECT_EQ(params.integer("rank"), 8);
  EXPECT_EQ(params.number("dropout"), 0.0);
  EXPECT_TRUE(params.boolean("bias"));
  EXPECT_EQ(params.string("prefix"), "a \"b\"");
  EXPECT_EQ(params.strings("words"), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(params.numbers("weights"), (std::vector<double>{0.5, 1.0}));
  EXPECT_EQ(params.integers("layers"), (std::vector<std::int64_t>{3, 4}));
  EXPECT_THROW(static_cast<void>(params.integer("absent")), Error);
  EXPECT_THROW(static_cast<void>(params.integer("prefix")), Error);
}

TEST(SdkGuard, TurnsEveryExceptionIntoAStatus) {
  std::array<char, 64> text{};
  graft_error error{text.data(), static_cast<std::uint32_t>(text.size()), 0};
  EXPECT_EQ(guard(&error, [] {}), GRAFT_OK);
  EXPECT_EQ(guard(&error, [] { return GRAFT_E_UNSUPPORTED; }), GRAFT_E_UNSUPPORTED);
  EXPECT_EQ(guard(&error, [] { throw Error("no such box"); }), GRAFT_E_INVALID_ARGUMENT);
  EXPECT_STREQ(text.data(), "no such box");
  EXPECT_EQ(error.length, 11U);
  EXPECT_EQ(guard(&error, [] { throw Error(GRAFT_E_CANCELLED, "stopped"); }), GRAFT_E_CANCELLED);
  EXPECT_EQ(guard(&error, [] { throw std::bad_alloc(); }), GRAFT_E_OUT_OF_MEMORY);
  EXPECT_EQ(guard(&error, [] { throw std::runtime_error(std::string(200, 'x')); }), GRAFT_E_INTERNAL);
  EXPECT_EQ(std::string(text.data()), std::string(63, 'x'));
  EXPECT_EQ(guard(&error, [] { throw 7; }), GRAFT_E_INTERNAL);
  EXPECT_EQ(guard(nullptr, [] { throw Error("nobody listens"); }), GRAFT_E_INVALID_ARGUMENT);
}

// ---- rewards ---------------------------------------------------------------------------------------------------------

struct Lengths : Reward {
  static constexpr auto name = "le-ngths.1";
  static constexpr double maximum = 100.0;
  [[nodiscard]] std::vector<std::string> score_names() const override { return {"bytes", "half"}; }
  [[nodiscard]] OutputContract contract() const override { return {"any text", "abc", GRAFT_SPACE_UNIT}; }
  Score score(const RewardItem& item) override {
    const std::string_view text = item.completion();
    if (text == "skip") return Score::no_opinion("not for me");
    if (text == "odd") return Score::unparsable({0.0, 0.0}, "no format");
    if (text == "bad") throw Error("cannot read this");
    if (text == "broken") throw Error(GRAFT_E_INTERNAL, "a defect");
    if (text == "one") return 1.0;
    const auto bytes = static_cast<double>(text.size());
    return std::vector<double>{bytes, bytes / 2};
  }
};

struct Single : Reward {
  static constexpr auto name = "si-ngle.1";
  Score score(const RewardItem&) override { return 0.5; }
};

struct Scored {
  graft_status status = GRAFT_OK;
  std::string message;
  std::vector<double> scores;
  std::vector<std::int32_t> statuses;
  std::vector<std::string> reasons;
};

template <typename T>
Scored score(const std::vector<std::string>& completions) {
  detail::current_host = plugin::host_table();
  const auto* table = static_cast<const graft_reward*>(RewardKind<T>::interface(GRAFT_INTERFACE_REWARD));
  T reward;
  auto* instance = reinterpret_cast<graft_instance*>(&reward);
  const graft_reward_desc* desc = nullptr;
  EXPECT_EQ(table->describe(instance, &desc, nullptr), GRAFT_OK);
  std::vector<graft_reward_item> items(completions.size(), zeroed<graft_reward_item>());
  std::vector<const graft_reward_item*> pointers;
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].completion = to_str(completions[i]);
    pointers.push_back(&items[i]);
  }
  auto batch = zeroed<graft_reward_batch>();
  batch.items = pointers.data();
  batch.n_items = pointers.size();
  Scored out;
  out.scores.resize(items.size() * desc->n_scores);
  out.statuses.resize(items.size());
  out.reasons.resize(items.size());
  auto result = zeroed<graft_reward_result>();
  result.scores = out.scores.data();
  result.statuses = out.statuses.data();
  result.context = &out.reasons;
  result.set_reason = [](void* context, std::uint64_t item, graft_str reason) {
    (*static_cast<std::vector<std::string>*>(context))[item] = to_view(reason);
  };
  std::array<char, 256> text{};
  graft_error error{text.data(), static_cast<std::uint32_t>(text.size()), 0};
  out.status = table->score(instance, &batch, &result, &error);
  out.message = text.data();
  return out;
}

TEST(SdkReward, ScoresStatusesAndReasonsArrive) {
  const Scored scored = score<Lengths>({"abcd", "skip", "odd", "bad"});
  EXPECT_EQ(scored.status, GRAFT_OK) << scored.message;
  EXPECT_EQ(scored.scores, (std::vector<double>{4, 2, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(scored.statuses, (std::vector<std::int32_t>{GRAFT_SCORE_OK, GRAFT_SCORE_NO_OPINION,
                                                        GRAFT_SCORE_UNPARSABLE, GRAFT_SCORE_ERROR}));
  EXPECT_EQ(scored.reasons, (std::vector<std::string>{"", "not for me", "no format", "cannot read this"}));
}

TEST(SdkReward, ADefectFailsTheBatchAndLeavesTheOutputs) {
  const Scored defect = score<Lengths>({"abcd", "broken"});
  EXPECT_EQ(defect.status, GRAFT_E_INTERNAL);
  EXPECT_EQ(defect.message, "a defect");
  EXPECT_EQ(defect.scores, (std::vector<double>{0, 0, 0, 0}));
  const Scored shape = score<Lengths>({"one"});
  EXPECT_EQ(shape.status, GRAFT_E_INTERNAL);
  EXPECT_NE(shape.message.find("an item has 1 values"), std::string::npos) << shape.message;
}

TEST(SdkReward, DescribesItself) {
  const auto describe = [](auto& reward) {
    using T = std::remove_reference_t<decltype(reward)>;
    const auto* table = static_cast<const graft_reward*>(RewardKind<T>::interface(GRAFT_INTERFACE_REWARD));
    const graft_reward_desc* desc = nullptr;
    EXPECT_EQ(table->describe(reinterpret_cast<graft_instance*>(&reward), &desc, nullptr), GRAFT_OK);
    return desc;
  };
  Lengths lengths;
  const graft_reward_desc* desc = describe(lengths);
  ASSERT_EQ(desc->n_scores, 2U);
  EXPECT_EQ(to_view(desc->score_names[1]), "half");
  EXPECT_EQ(desc->maximum, 100.0);
  ASSERT_NE(desc->contract, nullptr);
  EXPECT_EQ(to_view(desc->contract->example), "abc");
  EXPECT_EQ(desc->contract->coordinate_space, GRAFT_SPACE_UNIT);
  EXPECT_EQ(describe(lengths), desc) << "constant while the instance lives";
  Single single;
  const graft_reward_desc* simple = describe(single);
  ASSERT_EQ(simple->n_scores, 1U);
  EXPECT_EQ(to_view(simple->score_names[0]), "si_ngle_1");
  EXPECT_EQ(simple->contract, nullptr);
  EXPECT_EQ(RewardKind<Single>::interface("graft.reward/2"), nullptr);
}

// ---- the library -----------------------------------------------------------------------------------------------------

TEST(SdkPlugin, TheManifestIsConstantAndTheTablesComplete) {
  static constexpr graft_manifest manifest = detail::manifest<Single, Lengths>();
  EXPECT_EQ(manifest.magic, GRAFT_MAGIC);
  EXPECT_EQ(to_view(manifest.name), "si-ngle.1");
  const graft_library* library = nullptr;
  ASSERT_EQ(manifest.init(plugin::host_table(), &library, nullptr), GRAFT_OK);
  ASSERT_EQ(library->n_components, 2U);
  const graft_component* single = library->components[0];
  EXPECT_EQ(to_view(single->kind), GRAFT_KIND_REWARD);
  EXPECT_EQ(to_view(single->version), "1.0.0");
  graft_instance* instance = nullptr;
  ASSERT_EQ(single->create(single, plugin::host_table(), to_str("{}"), &instance, nullptr), GRAFT_OK);
  ASSERT_NE(instance, nullptr);
  single->destroy(instance);
  graft_instance* untouched = nullptr;
  EXPECT_EQ(single->create(single, plugin::host_table(), to_str("{"), &untouched, nullptr),
            GRAFT_E_INVALID_ARGUMENT);
  EXPECT_EQ(untouched, nullptr);
}

TEST(SdkHost, ServicesAreFoundOrMissed) {
  detail::current_host = plugin::host_table();
  EXPECT_NE(host().find_service<graft_rng>(GRAFT_SERVICE_RNG), nullptr);
  EXPECT_EQ(host().find_service<graft_rng>("no.such/1"), nullptr);
  EXPECT_THROW(static_cast<void>(host().service<graft_rng>("no.such/1")), Error);
  EXPECT_FALSE(host().is_cancelled());
}

}  // namespace
}  // namespace graft
