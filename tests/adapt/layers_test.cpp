// SPDX-License-Identifier: Apache-2.0
// The strategy `layers` on the tiny Qwen2.5-VL fixture, which has four decoder layers.
#include <ATen/core/grad_mode.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "adapt/adapter.h"
#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

using nlohmann::json;
using test::contains;

AttachOptions layers(json params) {
  AttachOptions options;
  options.strategy = "layers";
  options.params = std::move(params);
  options.targets.all_linear = true;
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  return options;
}

// Modules of the trained tensors.
std::set<std::string> trained(const AttachOptions& options, const char* fixture = "qwen2_5_vl_tiny") {
  model::OpenOptions open_options;
  open_options.directory = tests::tiny_directory().parent_path() / fixture;
  const auto model = model::Model::open(tests::tiny_registry(), open_options);
  const auto adapter = Adapter::attach(*model, tests::tiny_registry(), options);
  EXPECT_TRUE(adapter->is_model());
  EXPECT_FALSE(adapter->base_is_reference());
  std::set<std::string> modules;
  for (const auto& tensor : adapter->tensors()) {
    EXPECT_TRUE(tensor.is_base && tensor.tensor.requires_grad()) << tensor.name;
    modules.insert(module_of(tensor.name));
  }
  for (const auto& param : model->params()) {
    if (param.tied_to >= 0) continue;
    EXPECT_EQ(param.tensor.requires_grad(), modules.count(module_of(param.name)) > 0) << param.name;
  }
  return modules;
}

std::string error_of(const AttachOptions& options) {
  return test::message_of<support::UserError>([&] { trained(options); });
}

TEST(Layers, TrainsNamedModulesWithEverythingInThem) {
  EXPECT_EQ(
      trained(layers({{"modules", {"layers.1.self_attn.q_proj", "language_model.norm"}}})),
      (std::set<std::string>{"model.language_model.layers.1.self_attn.q_proj", "model.language_model.norm"}));
  EXPECT_EQ(trained(layers({{"modules", {"layers.2.mlp"}}})).size(), 3u);
  EXPECT_EQ(trained(layers({{"modules", {"input_layernorm"}}})).size(), 4u);
}

TEST(Layers, TrainsTheLastDecoderLayers) {
  const auto modules = trained(layers({{"last", 2}}));
  EXPECT_EQ(modules.size(), 2u * 9u);  // seven projections and two norms each
  for (const auto& name : modules) {
    EXPECT_TRUE(name.starts_with("model.language_model.layers.2.") ||
                name.starts_with("model.language_model.layers.3."))
        << name;
  }
  EXPECT_EQ(trained(layers({{"last", 1}, {"modules", {"layers.0.mlp.up_proj"}}})).size(), 10u);
}

TEST(Layers, ComponentsAndExclusionsHold) {
  auto options = layers({{"modules", {"mlp"}}});
  options.targets.components = {GRAFT_COMPONENT_VISION};
  for (const auto& name : trained(options)) EXPECT_TRUE(name.starts_with("model.visual.")) << name;
  options = layers({{"last", 1}});
  options.targets.exclude_names = {"down_proj"};
  EXPECT_EQ(trained(options).size(), 8u);
}

TEST(Layers, ATiedHeadIsTrainedAsTheEmbeddingsItIs) {
  auto options = layers({{"modules", {"lm_head"}}});
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_HEAD};
  EXPECT_EQ(trained(options, "qwen2_vl_tiny"), std::set<std::string>{"model.language_model.embed_tokens"});
}

TEST(Layers, NamesThatFitNothingAreErrorsWithTheNearest) {
  EXPECT_TRUE(contains(error_of(layers({{"modules", {"qproj"}}})),
                       "\"qproj\" names no module of this model; the "
                       "nearest is \"q_proj\""));
  EXPECT_TRUE(contains(error_of(layers({{"modules", {"q_proj", "visual.blocks"}}})),
                       "outside of the selection, such as model.visual.blocks.0"));
  EXPECT_TRUE(contains(error_of(layers(json::object())), "modules and last are not set"));
  EXPECT_TRUE(contains(error_of(layers({{"last", 5}})), "last is 5, but 4 decoder layers are selected"));
}

TEST(Layers, ABfloat16ModelIsRefused) {
  const auto model = tests::open_tiny_model("bfloat16");
  EXPECT_TRUE(
      contains(test::message_of<support::UserError>([&] {
                 static_cast<void>(Adapter::attach(*model, tests::tiny_registry(), layers({{"last", 1}})));
               }),
               "peft.strategy=layers trains the model's own weights, which needs model.dtype=float32"));
}

TEST(Layers, AreSavedAsAWholeModel) {
  const test::TemporaryDirectory scratch;
  const auto model = tests::open_tiny_model();
  const auto adapter = Adapter::attach(*model, tests::tiny_registry(), layers({{"last", 1}}));
  {
    const at::NoGradGuard no_grad;
    for (const auto& tensor : adapter->tensors()) tensor.tensor.add_(0.01);
  }
  adapter->save(scratch.path() / "model");
  model::OpenOptions options;
  options.directory = scratch.path() / "model";
  const auto again = model::Model::open(tests::tiny_registry(), options);
  for (std::size_t i = 0; i < model->params().size(); ++i)
    EXPECT_TRUE(again->params()[i].tensor.equal(model->params()[i].tensor)) << model->params()[i].name;
}

}  // namespace
}  // namespace graft::adapt
