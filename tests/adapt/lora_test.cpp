// SPDX-License-Identifier: Apache-2.0
// The plugin lora through the registry and the hook that models call.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>

#include "adapt/plan.h"
#include "adapt/strategy.h"
#include "adapt/values_view.h"
#include "model/tensor_handle.h"
#include "support/error.h"
#include "tests/adapt/plugin_registry.h"
#include "tests/adapt/qwen_sites.h"

namespace graft::adapt {
namespace {

using nlohmann::json;

plugin::Registry& registry() {
  static auto* const shared = test::new_registry(GRAFT_PLUGIN_DIR "/lora.so");
  return *shared;
}

// One adapted layer of 6 inputs and 5 outputs, with a bias, whose B is not zero.
class Layer {
 public:
  explicit Layer(const json& params, bool random_b = true)
      : strategy(registry(), "lora", params), weight(at::randn({5, 6})), bias(at::randn({5})) {
    site.name = "model.layer";
    site.weight = 0;
    site.bias = 1;
    site.component = GRAFT_COMPONENT_LANGUAGE;
    site.in_features = 6;
    site.out_features = 5;
    for (const auto& plan : strategy.plan_site({&site, {}})) {
      tensors.push_back(make_param(plan, site.name + "." + plan.name, 7, weight));
      tensors.back().requires_grad_(plan.is_trained);
    }
    if (random_b) {
      const at::NoGradGuard no_grad;
      tensors[1].copy_(at::randn({5, tensors[0].size(0)}));
    }
    hook = std::make_shared<StrategyHook>(strategy, std::vector{site});
    hook->adapt_site(0, {}, tensors);
  }

  [[nodiscard]] at::Tensor base(const at::Tensor& x) const {
    return at::linear(x, weight.to(x.dtype()), bias.to(x.dtype()));
  }
  at::Tensor operator()(const at::Tensor& x, const model::PassOptions& options = {}) {
    return hook->linear(
        0, x,
        {[&](const at::Tensor& input) { return base(input); }, [&] { return weight; }, [&] { return bias; }},
        options);
  }
  // s B A x
  [[nodiscard]] at::Tensor update(const at::Tensor& x, double scale) const {
    return at::matmul(at::matmul(x, tensors[0].t()), tensors[1].t()) * scale;
  }

  Strategy strategy;
  model::Site site;
  at::Tensor weight, bias;
  std::vector<at::Tensor> tensors;
  std::shared_ptr<StrategyHook> hook;
};

TEST(Lora, DefaultsAreFilledIn) {
  const Strategy strategy(registry(), "lora", json::object());
  const json& params = strategy.params();
  EXPECT_EQ(params["r"], 8);
  EXPECT_EQ(params["alpha"], 16.0);
  EXPECT_EQ(params["dropout"], 0.0);
  EXPECT_EQ(params["init"], "kaiming");
  EXPECT_EQ(params["bias"], "none");
}

TEST(Lora, ParametersHavePeftsNamesAndShapes) {
  Layer layer(json{{"r", 3}});
  const auto plan = layer.strategy.plan_site({&layer.site, {}});
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].name, "lora_A.weight");
  EXPECT_EQ(plan[0].sizes, (std::vector<std::int64_t>{3, 6}));
  EXPECT_EQ(plan[1].name, "lora_B.weight");
  EXPECT_EQ(plan[1].sizes, (std::vector<std::int64_t>{5, 3}));
}

TEST(Lora, AFreshAdapterChangesNothing) {
  Layer layer(json{{"r", 3}}, /*random_b=*/false);
  const auto x = at::randn({4, 6});
  EXPECT_TRUE(at::equal(layer(x), layer.base(x)));
  EXPECT_GT(layer.tensors[0].abs().max().item<float>(), 0.0f);
}

TEST(Lora, TheFirstMatrixIsUniformWithinTheInverseRootOfTheInputWidth) {
  model::Site wide;
  wide.name = "wide";
  wide.in_features = 400;
  wide.out_features = 10;
  const Strategy strategy(registry(), "lora", {{"r", 50}});
  const auto plan = strategy.plan_site({&wide, {}}).front();
  const auto a = make_param(plan, "wide.lora_A.weight", 1, at::zeros({1}));
  const double bound = 1.0 / std::sqrt(400.0);
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.abs().max().item<double>(), 0.99 * bound);
  EXPECT_NEAR(a.mean().item<double>(), 0.0, 0.02 * bound);
  EXPECT_NEAR(a.std().item<double>(), bound / std::sqrt(3.0), 0.02 * bound);
  EXPECT_TRUE(at::equal(a, make_param(plan, "wide.lora_A.weight", 1, a)));  // same key, same values
  EXPECT_FALSE(at::equal(a, make_param(plan, "other.lora_A.weight", 1, a)));
  EXPECT_FALSE(at::equal(a, make_param(plan, "wide.lora_A.weight", 2, a)));
}

TEST(Lora, TheUpdateIsScaledByAlphaOverRank) {
  Layer layer(json{{"r", 4}, {"alpha", 6}});
  const auto x = at::randn({3, 6});
  EXPECT_TRUE(at::allclose(layer(x), layer.base(x) + layer.update(x, 1.5), 1e-5, 1e-6));
}

TEST(Lora, RankStabilisedScalesByAlphaOverTheRootOfTheRank) {
  Layer layer(json{{"r", 4}, {"alpha", 6}, {"use_rslora", true}});
  const auto x = at::randn({3, 6});
  EXPECT_TRUE(at::allclose(layer(x), layer.base(x) + layer.update(x, 3.0), 1e-5, 1e-6));
}

TEST(Lora, GradientsAreThoseOfTheFormula) {
  Layer layer(json{{"r", 2}, {"alpha", 3}});
  const auto x = at::randn({7, 6}).requires_grad_(true), seed = at::randn({7, 5});
  layer(x).backward(seed);
  std::vector<at::Tensor> got = {x.grad().clone(), layer.tensors[0].grad().clone(),
                                 layer.tensors[1].grad().clone()};
  x.mutable_grad().reset();
  for (auto& tensor : layer.tensors) tensor.mutable_grad().reset();
  (layer.base(x) + layer.update(x, 1.5)).backward(seed);
  EXPECT_TRUE(at::allclose(got[0], x.grad(), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(got[1], layer.tensors[0].grad(), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(got[2], layer.tensors[1].grad(), 1e-5, 1e-6));
  EXPECT_FALSE(layer.weight.requires_grad());
}

TEST(Lora, NothingIsRecordedUnderNoGrad) {
  Layer layer(json{{"r", 2}});
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(layer(at::randn({2, 6})).requires_grad());
}

TEST(Lora, ABfloat16ModelKeepsItsDtypeAndAdaptsInFloat32) {
  Layer layer(json{{"r", 4}, {"alpha", 8}});
  const auto x = at::randn({3, 6}).to(at::kBFloat16);
  const auto y = layer(x);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  const auto expected =
      (layer.base(x).to(at::kFloat) + layer.update(x.to(at::kFloat), 2.0)).to(at::kBFloat16);
  EXPECT_TRUE(at::allclose(y.to(at::kFloat), expected.to(at::kFloat), 1e-2, 1e-2));
  y.sum().backward();
  EXPECT_EQ(layer.tensors[1].grad().scalar_type(), at::kFloat);
}

TEST(Lora, DropoutActsInTrainingOnTheUpdateOnly) {
  Layer layer(json{{"r", 2}, {"dropout", 0.5}});
  const auto x = at::randn({40, 6});
  model::PassOptions training;
  training.is_training = true;
  EXPECT_TRUE(at::equal(layer(x), layer(x)));
  EXPECT_FALSE(at::equal(layer(x, training), layer(x)));
  EXPECT_FALSE(at::equal(layer(x, training), layer(x, training)));
  Layer fresh(json{{"r", 2}, {"dropout", 0.5}}, /*random_b=*/false);
  EXPECT_TRUE(at::equal(fresh(x, training), fresh.base(x)));
}

TEST(Lora, AdaptersCanBeSwitchedOffForAPass) {
  Layer layer(json{{"r", 2}});
  const auto x = at::randn({2, 6});
  model::PassOptions off;
  off.adapters_enabled = false;
  EXPECT_TRUE(at::equal(layer(x, off), layer.base(x)));
  EXPECT_FALSE(at::equal(layer(x), layer.base(x)));
}

TEST(Lora, TheMergedWeightEqualsTheAdaptedLayer) {
  Layer layer(json{{"r", 4}, {"alpha", 6}});
  const Float32Site values(*layer.hook->adapted().front(), {}, layer.weight, layer.bias);
  const auto [weight, bias] = layer.strategy.merge(values.raw());
  EXPECT_FALSE(bias.defined());
  const auto x = at::randn({3, 6});
  EXPECT_TRUE(at::allclose(at::linear(x, weight, layer.bias), layer(x), 1e-5, 1e-5));
}

TEST(Lora, ExceptionsOfTheBaseLayerPassThroughThePlugin) {
  Layer layer(json{{"r", 2}});
  const auto call = [&] {
    const model::BaseLayer base{
        [](const at::Tensor&) -> at::Tensor { throw support::Interrupted("stopped by a signal"); },
        [&] { return layer.weight; }, [&] { return layer.bias; }};
    return layer.hook->linear(0, at::randn({2, 6}), base, {});
  };
  EXPECT_THROW(call(), support::Interrupted);
}

TEST(Lora, ParametersThatHaveNoEffectAreRefused) {
  for (const json& params : {json{{"pissa_iterations", 4}}, json{{"freeze_a", true}, {"lr_ratio", 4}},
                             json{{"init", "orthogonal"}, {"r", 3}}}) {
    EXPECT_THROW(Strategy(registry(), "lora", params), support::UserError) << params;
  }
}

// PEFT: test_lora_variants.py, dora unmerge inverts merge; here the norm of the merged rows is the magnitude.
TEST(Lora, RowsOfADoraLayerHaveTheNormOfTheirMagnitudes) {
  Layer layer(json{{"r", 2}, {"use_dora", true}});
  {
    const at::NoGradGuard no_grad;
    layer.tensors[2].copy_(at::randn({5}).abs().add(0.5));
    layer.tensors[3].copy_(layer.weight.square().sum(1));
  }
  const Float32Site values(*layer.hook->adapted().front(), {}, layer.weight, layer.bias);
  const auto merged = layer.strategy.merge(values.raw()).first;
  EXPECT_TRUE(at::allclose(merged.norm(2, {1}), layer.tensors[2], 1e-5, 1e-6));
  const auto x = at::randn({3, 6});
  EXPECT_TRUE(at::allclose(at::linear(x, merged, layer.bias), layer(x), 1e-5, 1e-5));
}

TEST(Lora, TrainedTensorsAreWhatARecomputeNodeNeeds) {
  Layer layer(json{{"r", 2}});
  ASSERT_EQ(layer.hook->trained_tensors(0).size(), 2u);
  EXPECT_TRUE(layer.hook->trained_tensors(0)[0].is_same(layer.tensors[0]));
  EXPECT_FALSE(layer.hook->covers(1));
  EXPECT_TRUE(layer.hook->trained_tensors(1).empty());
}

TEST(Lora, ParametersOutsideOfTheirRangeAreTheUsersToCorrect) {
  EXPECT_THROW(Strategy(registry(), "lora", {{"r", 0}}), support::UserError);
  EXPECT_THROW(Strategy(registry(), "lora", {{"dropout", 1.0}}), support::UserError);
  EXPECT_THROW(Strategy(registry(), "lora", {{"rank", 8}}), support::UserError);
}

// ---- PEFT's files
// ----------------------------------------------------------------------------------------------------

json exported(const json& params) {
  return *Strategy(registry(), "lora", params).export_config(graft_peft_model{});
}

TEST(Lora, TheExportedConfigurationReadsBackAsTheSameParameters) {
  const json params = {{"r", 4},           {"alpha", 32},        {"dropout", 0.25}, {"use_rslora", true},
                       {"use_dora", true}, {"lora_bias", false}, {"bias", "all"},   {"init", "kaiming"}};
  const auto config = exported(params);
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["lora_alpha"], 32);
  std::string refusal;
  EXPECT_EQ(import_config(registry().find(GRAFT_KIND_PEFT, "lora"), config.dump(), &refusal), params)
      << refusal;
}

TEST(Lora, MissingFieldsGetPeftsDefaultsAndNotOurs) {
  std::string refusal;
  const auto params = import_config(registry().find(GRAFT_KIND_PEFT, "lora"),
                                    R"({"peft_type": "LORA", "target_modules": ["q"]})", &refusal);
  ASSERT_TRUE(params) << refusal;
  EXPECT_EQ((*params)["alpha"], 8);
}

TEST(Lora, OptionsThatAreNotOfferedAreRefusedByName) {
  const std::vector<std::pair<std::string, json>> options = {{"use_qalora", true},
                                                             {"init_lora_weights", "pissa_niter_4"},
                                                             {"init_lora_weights", "corda"},
                                                             {"layer_replication", {{0, 2}}},
                                                             {"fan_in_fan_out", true},
                                                             {"target_parameters", {"w"}},
                                                             {"kasa_config", {{"beta", 1}}},
                                                             {"trainable_token_indices", {1, 2}},
                                                             {"peft_type", "IA3"}};
  for (const auto& [key, value] : options) {
    auto config = exported({});
    config[key] = value;
    std::string refusal;
    EXPECT_FALSE(import_config(registry().find(GRAFT_KIND_PEFT, "lora"), config.dump(), &refusal)) << key;
    EXPECT_NE(refusal.find(key), std::string::npos) << refusal;
  }
}

}  // namespace
}  // namespace graft::adapt
