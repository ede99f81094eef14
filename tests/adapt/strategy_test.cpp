// SPDX-License-Identifier: Apache-2.0
// What the host makes of strategies other than the ones it comes with, and of faulty ones.
#include "adapt/strategy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include "adapt/plan.h"
#include "support/error.h"
#include "tests/adapt/plugin_registry.h"
#include "tests/adapt/qwen_sites.h"

namespace graft::adapt {
namespace {

using nlohmann::json;

plugin::Registry& registry() {
  static auto* const shared = test::new_registry(GRAFT_BINARY_DIR "/tests/plugins/test_strategies.so");
  return *shared;
}

Strategy faulty(const std::string& fault) {
  return Strategy(registry(), "faulty", {{"fault", fault}});
}

// The first site of the small model with `strategy` applied to x.
at::Tensor apply(const Strategy& strategy, const at::Tensor& x) {
  const test::QwenSites model;
  const auto weight = at::randn({4, 4});
  StrategyHook hook(strategy, model.sites);
  std::vector<at::Tensor> params;
  for (const auto& plan : strategy.plan_site({&model.sites[0], {}}))
    params.push_back(make_param(plan, plan.name, 0, weight));
  hook.adapt_site(0, {}, params);
  return hook.linear(
      0, x, {[&](const at::Tensor& in) { return at::linear(in, weight); }, [&] { return weight; }, {}}, {});
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const support::PluginError& e) {
    return e.what();
  }
  return "no error";
}

PlanInput nothing_selected(test::QwenSites& model) {
  PlanInput input{model.sites, model.params, {}, {}, {}, {}, 1};
  input.selected_sites.assign(model.sites.size(), false);
  input.selected_params.assign(model.params.size(), false);
  input.saved_params.assign(model.params.size(), false);
  input.overrides.resize(model.sites.size());
  return input;
}

TEST(Strategy, MayKeepFrozenParametersBesideTrainedOnes) {
  test::QwenSites model;
  const Strategy strategy(registry(), "scale", json::object());
  PlanInput input = nothing_selected(model);
  input.selected_sites[0] = input.selected_sites[3] = true;
  const auto plan = make_plan(strategy, input);
  ASSERT_EQ(plan.tensors.size(), 4u);
  EXPECT_EQ(plan.sites, (std::vector<std::uint32_t>{0, 3}));
  EXPECT_TRUE(plan.tensors[0].is_trained && plan.tensors[0].tensor.requires_grad());
  EXPECT_FALSE(plan.tensors[1].is_trained || plan.tensors[1].tensor.requires_grad());
  EXPECT_EQ(plan.hook->trained_tensors(3).size(), 1u);
  EXPECT_GT(plan.tensors[1].tensor.abs().max().item<float>(), 0.0f);
  EXPECT_FALSE(strategy.export_config(graft_peft_model{}));
}

TEST(Strategy, ResultsOfTheWrongShapeOrDtypeAreErrorsThatNameTheLayer) {
  const auto x = at::randn({3, 4}), wide = at::randn({3, 5});
  EXPECT_EQ(apply(faulty("none"), x).size(1), 4);
  for (const char* fault : {"dtype", "nothing"}) {
    const auto message = error_of([&] { apply(faulty(fault), x); });
    EXPECT_NE(message.find("layers.0.self_attn.q_proj returned"), std::string::npos) << message;
  }
  EXPECT_NE(error_of([&] { apply(faulty("shape"), wide); }).find("[3, 5] float32"), std::string::npos);
}

TEST(Strategy, WhatItThrowsArrivesAsItsMessage) {
  const auto message = error_of([&] { apply(faulty("throw"), at::randn({3, 4})); });
  EXPECT_NE(message.find("no reason at all"), std::string::npos) << message;
}

TEST(Strategy, TheGradModeIsRestoredAfterIt) {
  apply(faulty("grad_mode"), at::randn({3, 4}));
  EXPECT_TRUE(at::GradMode::is_enabled());
}

TEST(Strategy, PlansThatMakeNoSenseAreErrors) {
  const test::QwenSites model;
  for (const char* fault : {"name", "size"}) {
    EXPECT_NE(error_of([&] {
                static_cast<void>(faulty(fault).plan_site({&model.sites[0], {}}));
              }),
              "no error")
        << fault;
  }
  EXPECT_NE(error_of([&] {
              static_cast<void>(faulty("export").export_config(graft_peft_model{}));
            }).find("no JSON object"),
            std::string::npos);
}

TEST(Strategy, BaseParametersTrainedBesideAnAdapterAreCopies) {
  test::QwenSites model;
  PlanInput input = nothing_selected(model);
  input.selected_sites[0] = true;
  const auto weight = static_cast<std::uint32_t>(model.sites[0].weight);
  const at::Tensor before = model.params[weight].tensor.clone();
  const auto plan = make_plan(faulty("both"), input);
  EXPECT_FALSE(plan.trains_base);
  const at::Tensor* copy = plan.hook->replacement(weight);
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(copy->requires_grad());
  EXPECT_FALSE(model.params[weight].tensor.requires_grad());
  EXPECT_FALSE(copy->is_alias_of(model.params[weight].tensor));
  EXPECT_TRUE(at::equal(*copy, before));
}

}  // namespace
}  // namespace graft::adapt
