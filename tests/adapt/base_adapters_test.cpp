// SPDX-License-Identifier: Apache-2.0
// Several adapters at once: frozen ones beneath the trained one.
#include "adapt/base_adapters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "adapt/adapter.h"
#include "model/attention.h"
#include "model/packed_input.h"
#include "support/error.h"
#include "support/files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::contains;

AttachOptions lora(json params, std::vector<std::string> names = {"q_proj", "v_proj", "down_proj"}) {
  AttachOptions options;
  options.strategy = "lora";
  options.params = std::move(params);
  options.targets.names = std::move(names);
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  return options;
}

at::Tensor logits(const model::Model& model, const model::PassOptions& options = {}) {
  const auto made = tests::tiny_prompt(model, "Where is it?", "");
  model::PackedSequences sequences;
  sequences.prompt = &made.prompt;
  const std::vector<model::PackedSequences> groups = {sequences};
  const auto hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                   model::packed_attention(model::packed_groups(groups)), options);
  return model.head(hidden, options);
}

at::Tensor logits_without_graph(const model::Model& model, const model::PassOptions& options = {}) {
  const at::NoGradGuard no_grad;
  return logits(model, options);
}

bool is_close(const at::Tensor& a, const at::Tensor& b) {
  return at::allclose(a, b, 1e-5, 1e-5);
}

void randomize(const Adapter& adapter) {
  const at::NoGradGuard no_grad;
  for (const auto& tensor : adapter.tensors()) {
    if (tensor.is_trained) tensor.tensor.add_(at::randn_like(tensor.tensor) * 0.05);
  }
}

class BaseAdaptersTest : public testing::Test {
 protected:
  std::unique_ptr<Adapter> attach(const AttachOptions& options) {
    return Adapter::attach(*model_, tests::tiny_registry(), options);
  }
  std::string error_of(const AttachOptions& options) {
    return test::message_of<support::UserError>([&] { static_cast<void>(attach(options)); });
  }
  // Saves an adapter of these options with random values.
  fs::path save(const std::string& name, const AttachOptions& options) {
    const auto adapter = attach(options);
    randomize(*adapter);
    adapter->save(scratch_ / name);
    return scratch_ / name;
  }
  // Logits of the merged model, written and read again.
  at::Tensor merged_logits(const Adapter& adapter) {
    adapter.save_merged(scratch_ / "merged");
    model::OpenOptions options;
    options.directory = scratch_ / "merged";
    return logits_without_graph(*model::Model::open(tests::tiny_registry(), options));
  }
  AttachOptions stack(const std::vector<fs::path>& below, const fs::path& top) {
    AttachOptions options;
    options.base_adapters = below;
    options.adapter = top;
    return options;
  }

  test::TemporaryDirectory scratch_;
  std::unique_ptr<model::Model> model_ = tests::open_tiny_model();
};

// B₁A₁ + B₂A₂ is one product of rank r₁ + r₂, where the scales are equal.
// PEFT: _test_load_multiple_adapters, test_multiple_active_adapters_forward.
TEST_F(BaseAdaptersTest, TwoLoraAdaptersAreTheSumOfTheirUpdates) {
  const auto a = save("a", lora({{"r", 2}, {"alpha", 4}})), b = save("b", lora({{"r", 3}, {"alpha", 6}}));
  std::map<std::string, at::Tensor> values;
  for (const auto& directory : {a, b}) {
    const auto adapter = Adapter::load(*model_, tests::tiny_registry(), directory);
    for (const auto& tensor : adapter->tensors()) {
      const bool is_a = tensor.name.ends_with("lora_A.weight");
      at::Tensor& joined = values[tensor.name];
      joined =
          joined.defined() ? at::cat({joined, tensor.tensor.detach()}, is_a ? 0 : 1) : tensor.tensor.detach();
    }
  }
  at::Tensor expected;
  {
    const auto sum = attach(lora({{"r", 5}, {"alpha", 10}}));
    const at::NoGradGuard no_grad;
    for (const auto& tensor : sum->tensors()) tensor.tensor.copy_(values.at(tensor.name));
    expected = logits_without_graph(*model_);
  }
  const auto both = attach(stack({a}, b));
  EXPECT_TRUE(is_close(logits_without_graph(*model_), expected));
  EXPECT_NE(both->summary().find("beneath it, frozen: lora from " + a.string()), std::string::npos);
}

// PEFT: test_requires_grad_lora_same_targets, test_loading_model_requires_grad_load_adapter_then_add_adapter.
TEST_F(BaseAdaptersTest, AFreshAdapterOnThemChangesNothingAndTheyStayFrozen) {
  const auto a = save("a", lora({{"r", 2}, {"dropout", 0.5}}));
  at::Tensor expected;
  {
    const auto alone = Adapter::load(*model_, tests::tiny_registry(), a);
    expected = logits_without_graph(*model_);
  }
  for (const bool use_dora : {false, true}) {
    auto options = lora({{"r", 3}, {"use_dora", use_dora}}, {"q_proj", "up_proj"});
    options.base_adapters = {a};
    const auto adapter = attach(options);
    EXPECT_TRUE(is_close(logits_without_graph(*model_), expected)) << use_dora;
    EXPECT_FALSE(adapter->base_is_reference());
    model::PassOptions training;  // the frozen one's dropout does not apply
    training.is_training = true;
    EXPECT_TRUE(is_close(logits_without_graph(*model_, training), expected)) << use_dora;
    logits(*model_).square().sum().backward();
    for (const auto& tensor : adapter->tensors())
      EXPECT_EQ(tensor.tensor.grad().defined(), tensor.is_trained) << tensor.name;
  }
}

TEST_F(BaseAdaptersTest, TheReferenceIsTheInitialStateWithThem) {
  const auto a = save("a", lora({{"r", 2}}));
  const auto bare = logits_without_graph(*model_);
  auto options = lora({{"r", 3}});
  options.base_adapters = {a};
  const auto adapter = attach(options);
  const auto initial = logits_without_graph(*model_);
  EXPECT_FALSE(is_close(initial, bare));
  adapter->keep_reference();
  randomize(*adapter);
  EXPECT_FALSE(is_close(logits_without_graph(*model_), initial));
  adapter->with_reference([&] { EXPECT_TRUE(at::equal(logits_without_graph(*model_), initial)); });
  model::PassOptions off;
  off.adapters_enabled = false;
  EXPECT_TRUE(at::equal(logits_without_graph(*model_, off), bare));
}

// PEFT: _test_merge_layers_multi, test_multiple_active_adapters_merge_and_unmerge.
TEST_F(BaseAdaptersTest, MergingAllOneAfterTheOtherEqualsTheChain) {
  const auto a = save("a", lora({{"r", 2}})), b = save("b", lora({{"r", 3}}, {"q_proj", "up_proj"}));
  {
    const auto adapter = attach(stack({a, b}, save("c", lora({{"r", 2}, {"use_dora", true}}))));
    const auto chain = logits_without_graph(*model_);
    EXPECT_TRUE(is_close(merged_logits(*adapter), chain));
  }
  {
    const auto adapter = attach(stack({scratch_ / "c"}, a));  // DoRA beneath
    const auto chain = logits_without_graph(*model_);
    EXPECT_TRUE(is_close(merged_logits(*adapter), chain));
  }
}

TEST_F(BaseAdaptersTest, CopiesBeneathAreUsedAndMerged) {
  auto options = lora({{"r", 2}}, {"q_proj"});
  options.modules_to_save = {"layers.1.mlp"};
  const auto a = save("a", options), b = save("b", lora({{"r", 2}}));
  const auto adapter = attach(stack({a}, b));
  const auto chain = logits_without_graph(*model_);
  EXPECT_TRUE(is_close(merged_logits(*adapter), chain));
  for (const auto& param : model_->params()) EXPECT_FALSE(param.tensor.requires_grad()) << param.name;
}

// PEFT: _test_save_pretrained_selected_adapters.
TEST_F(BaseAdaptersTest, OnlyTheOneOnTopIsSaved) {
  const auto a = save("a", lora({{"r", 2}})), b = save("b", lora({{"r", 3}}, {"q_proj"}));
  attach(stack({a}, b))->save(scratch_ / "again");
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json"})
    EXPECT_EQ(support::read_file(scratch_ / "again" / file), support::read_file(b / file));
}

TEST_F(BaseAdaptersTest, WhatCannotStandOnThemIsRefused) {
  const auto a = save("a", lora({{"r", 2}}));
  AttachOptions full;
  full.strategy = "full";
  full.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  full.base_adapters = {a};
  EXPECT_TRUE(contains(error_of(full), "peft.base_adapters is set with peft.strategy=full"));
  auto options = lora({{"r", 2}}, {"k_proj"});
  options.base_adapters = {a};
  options.modules_to_save = {"layers.0.self_attn.q_proj"};
  EXPECT_TRUE(contains(error_of(options),
                       "layers.0.self_attn.q_proj.weight, of which the adapter above it holds a copy"));
  options.modules_to_save.clear();
  options.base_adapters = {scratch_ / "none"};
  EXPECT_TRUE(contains(error_of(options), "is no adapter"));
}

}  // namespace
}  // namespace graft::adapt
