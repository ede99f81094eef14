// SPDX-License-Identifier: Apache-2.0
// How far an adapter has moved each layer.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/randn_like.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include "adapt/adapter.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

std::unique_ptr<Adapter> attach(model::Model& model, const char* strategy, nlohmann::json params) {
  AttachOptions options;
  options.strategy = strategy;
  options.params = std::move(params);
  options.targets.names = {"q_proj", "down_proj"};
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  return Adapter::attach(model, tests::tiny_registry(), options);
}

std::vector<at::Tensor> copies(const Adapter& adapter) {
  std::vector<at::Tensor> values;
  for (const auto& tensor : adapter.tensors()) values.push_back(tensor.tensor.detach().clone());
  return values;
}

TEST(LayerChanges, AreZeroAtTheStartWhateverTheInitialUpdateIs) {
  const auto model = tests::open_tiny_model();
  for (const char* init : {"kaiming", "gaussian", "pissa"}) {
    const auto adapter = attach(*model, "lora", {{"r", 4}, {"alpha", 8}, {"init", init}});
    adapter->keep_reference();
    const auto changes = adapter->layer_changes();
    EXPECT_EQ(changes.size(), 4U * 2U) << init;  // four layers of two sites
    for (const auto& change : changes) EXPECT_EQ(change.relative_change, 0.0) << init << ' ' << change.layer;
  }
}

TEST(LayerChanges, AreTheNormOfTheUpdateOverThatOfTheWeightAndChangeNothing) {
  const auto model = tests::open_tiny_model();
  const auto adapter = attach(*model, "lora", {{"r", 4}, {"alpha", 8}});
  adapter->keep_reference();
  at::Tensor a, b;
  {
    const at::NoGradGuard no_grad;
    a = adapter->tensors()[0].tensor;
    b = adapter->tensors()[1].tensor;
    b.add_(at::randn_like(b));
  }
  const auto before = copies(*adapter);
  const auto changes = adapter->layer_changes();
  const std::string layer = changes.front().layer;
  for (const auto& site : model->sites()) {
    if (site.name != layer) continue;
    const auto weight = model->params()[static_cast<std::size_t>(site.weight)].dense(at::kFloat);
    const double expected = 2.0 * b.matmul(a).norm().item<double>() / weight.norm().item<double>();
    EXPECT_NEAR(changes.front().relative_change, expected, 1e-5 * expected);
  }
  for (std::size_t i = 1; i < changes.size(); ++i)
    EXPECT_EQ(changes[i].relative_change, 0.0) << changes[i].layer;
  const auto after = copies(*adapter);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(after[i], before[i]));
}

}  // namespace
}  // namespace graft::adapt
