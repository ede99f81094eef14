// SPDX-License-Identifier: Apache-2.0
// AdaLoRA; its allocation against PEFT's: tests/embed/peft_adalora.py.
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <map>
#include <tuple>
#include <vector>

#include "support/error.h"
#include "tests/adapt/strategy_layer.h"

namespace graft::adapt {
namespace {

using nlohmann::json;
using test::StrategyLayer;

TEST(AdaLora, KeepsTheTripletsOfTheHighestImportance) {
  StrategyLayer layer("adalora", {{"init_r", 4}, {"target_r", 2}, {"total_step", 3}});
  layer.train();
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> value, importance, uncertainty;
  for (const char* name : {"lora_A", "lora_E", "lora_B"}) {
    value[name] = layer.param(name);
    importance[name] = uncertainty[name] = at::zeros_like(value[name]);
  }
  const auto score = [&](const char* name) { return importance[name] * uncertainty[name]; };
  for (int step = 0; step < 3; ++step) {
    for (auto& [name, tensor] : value) {
      tensor.mutable_grad() = at::randn(tensor.sizes());
      if (step == 2) continue;  // the last step allocates by what was seen before
      const auto now = (tensor * tensor.grad()).abs();
      importance[name] = importance[name] * 0.85 + now * 0.15;
      uncertainty[name] = uncertainty[name] * 0.85 + (now - importance[name]).abs() * 0.15;
    }
    layer.strategy.after_update(
        ModelView(*layer.plan.hook, layer.sites, layer.params, Weights::kNone, Grads::kLent, step, 0).raw());
  }
  const auto scores = score("lora_E").flatten() + score("lora_A").mean(1) + score("lora_B").mean(0);
  const auto kept = scores > std::get<0>(at::sort(scores))[1];
  // A triplet may come back after it was dropped; its E is what the optimizer made of 0 meanwhile, here 0.
  EXPECT_TRUE(at::equal(layer.param("mask").flatten() != 0, kept)) << scores << layer.param("mask");
  EXPECT_EQ(value["lora_E"].flatten().masked_select(kept.logical_not()).abs().sum().item<float>(), 0.0F);
  const json pattern = layer.exported().at("rank_pattern").at(std::string(StrategyLayer::kName) + ".lora_E");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pattern.at(i).get<bool>(), kept[i].item<bool>());
}

TEST(AdaLora, FilesHoldTheTripletsThatAreLeft) {
  const json params = {{"init_r", 4}, {"target_r", 2}};
  StrategyLayer layer("adalora", params), other("adalora", params);
  layer.train();
  {
    const at::NoGradGuard no_grad;
    for (const int dropped : {0, 2}) {
      layer.param("lora_E")[dropped].zero_();
      layer.param("mask")[dropped].zero_();
    }
    other.weight.copy_(layer.weight);
    other.bias.copy_(layer.bias);
    const Float32Site values(*layer.plan.hook->adapted().front(), layer.plan.hook->shared(), layer.weight,
                             layer.bias);
    const auto file = layer.strategy.export_tensors(values.raw());
    ASSERT_TRUE(file);
    ASSERT_EQ(file->size(), 3u);
    EXPECT_EQ(file->at(0).second.sizes().vec(), (std::vector<std::int64_t>{2, 6}));
    EXPECT_EQ(file->at(2).second.sizes().vec(), (std::vector<std::int64_t>{8, 2}));
    const ModelView view(*other.plan.hook, other.sites, other.params, Weights::kNone);
    other.strategy.import_tensors(*view.raw().sites[0], *file);
    auto damaged = *file;
    damaged[0].second = at::zeros({3, 6});
    EXPECT_THROW(other.strategy.import_tensors(*view.raw().sites[0], damaged), support::UserError);
    other.strategy.import_tensors(*view.raw().sites[0], *file);
  }
  const auto x = at::randn({5, 6});
  EXPECT_TRUE(at::allclose(other(x), layer(x), 1e-5, 1e-5));
}

}  // namespace
}  // namespace graft::adapt
