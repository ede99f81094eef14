// SPDX-License-Identifier: Apache-2.0
// Counterparts of tests of PEFT that have no other place, under their names; tests/adapt/README.md lists where each one is. In graft an
// adapter's name is its directory, several at once are a stack, and merging writes a new model instead of changing the one at hand.
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/safetensors.h"
#include "support/error.h"
#include "tests/adapt/peft_counterparts.h"
#include "tests/support/errors.h"

namespace graft::adapt {
namespace {

using namespace counterparts;  // NOLINT(google-build-using-namespace): of this folder's tests

// ---- testing_common.py ------------------------------------------------------------------------------------

TEST_F(PeftCounterparts, test_merge_layers_nan) {
  const Values before = copy_of(model_->params());
  for (const char* part : {"lora_A.weight", "lora_B.weight"}) {
    const auto adapter = attach(lora({{"r", 2}}));
    move(*adapter);
    for (const auto& item : adapter->tensors()) {
      const at::NoGradGuard no_grad;
      if (item.name.ends_with(part)) item.tensor.view({-1})[0].fill_(std::numeric_limits<float>::quiet_NaN());
    }
    const auto message =
        test::message_of<support::UserError>([&] { adapter->save_merged(scratch_ / "merged"); });
    EXPECT_TRUE(test::contains(message, "not finite")) << message;
    EXPECT_FALSE(fs::exists(scratch_ / "merged"));
  }
  expect_base_unchanged(before);
}

TEST_F(PeftCounterparts, test_merge_layers_fp16) {
  model_ = tests::open_tiny_model("bfloat16");
  const auto adapter = attach(lora({{"r", 2}, {"alpha", 4}}, {"q_proj"}));
  move(*adapter);
  adapter->save_merged(scratch_ / "merged");
  const auto merged = open(scratch_ / "merged");
  Values factors;
  for (const auto& item : adapter->tensors()) factors[item.name] = item.tensor.detach();
  const std::string layer = "model.language_model.layers.0.self_attn.q_proj";
  for (std::size_t i = 0; i < model_->params().size(); ++i) {
    const auto& before = model_->params()[i];
    if (before.name != layer + ".weight") continue;
    const at::Tensor update =
        at::matmul(factors.at(layer + ".lora_B.weight"), factors.at(layer + ".lora_A.weight"));
    const at::Tensor expected = (before.tensor.to(at::kFloat) + update * 2.0).to(at::kBFloat16);
    // One rounding: of the sum.
    EXPECT_TRUE(at::allclose(merged->params()[i].tensor.to(at::kFloat), expected.to(at::kFloat), 1e-2, 0.0));
    EXPECT_EQ((merged->params()[i].tensor.to(at::kBFloat16).ne(expected)).sum().item<std::int64_t>(), 0);
  }
}

TEST_F(PeftCounterparts, test_unload_adapter) {
  const at::Tensor base = logits();
  auto adapter = attach(lora({{"r", 2}}));
  move(*adapter);
  EXPECT_FALSE(at::allclose(logits(), base, 1e-3, 1e-3));
  adapter.reset();
  EXPECT_TRUE(at::equal(logits(), base));
}

TEST_F(PeftCounterparts, test_training_layer_indexing) {
  auto options = lora({{"r", 2}}, {"q_proj", "up_proj"});
  options.targets.layers = {1};
  const auto adapter = attach(options);
  EXPECT_EQ(adapter->tensors().size(), 4u);
  for (const auto& item : adapter->tensors())
    EXPECT_NE(item.name.find(".layers.1."), std::string::npos) << item.name;
}

// ---- test_custom_models.py --------------------------------------------------------------------------------

// Names that are parts of modules or of PEFT's own keys. PEFT: test_get_peft_model_state_dict_removes_adapter_name_when_same_as_module_name,
// test_get_and_set_peft_model_state_dict_adapter_name_same_as_module_name.
TEST_F(PeftCounterparts, test_adapter_name_makes_no_difference) {
  const auto first = save("default", lora({{"r", 2}}));
  at::Tensor expected;
  {
    const auto adapter = load(first);
    expected = logits();
  }
  const std::string tensors = support::read_file(first / "adapter_model.safetensors");
  for (const char* name : {"lora", "lora_A", "q_proj", "base_layer", "weight", "model"}) {
    const auto directory = save(name, lora({{"r", 2}}));
    EXPECT_EQ(support::read_file(directory / "adapter_model.safetensors"), tensors) << name;
    const auto adapter = load(directory);
    EXPECT_TRUE(at::equal(logits(), expected)) << name;
  }
}

TEST_F(PeftCounterparts, test_multirank) {
  auto first = lora({{"r", 8}, {"alpha", 8}});
  first.rank_pattern = SitePatterns({{"q_proj", 3}}, "first");
  first.alpha_pattern = SitePatterns({{"q_proj", 9}}, "first");
  auto second = lora({{"r", 4}, {"alpha", 4}});
  second.rank_pattern = SitePatterns({{"v_proj", 2}, {"layers.1.mlp.down_proj", 6}}, "second");
  const auto a = save("a", first), b = save("b", second);
  const auto ranks = [&](const Adapter& adapter) {
    std::map<std::string, std::int64_t> list;
    for (const auto& item : adapter.tensors()) {
      if (item.name.ends_with("lora_A.weight")) list[item.name] = item.tensor.size(0);
    }
    return list;
  };
  const auto on_top = load(b, {a});
  const std::string layer = "model.language_model.layers.1.";
  const auto found = ranks(*on_top);
  EXPECT_EQ(found.at(layer + "self_attn.q_proj.lora_A.weight"), 4);
  EXPECT_EQ(found.at(layer + "self_attn.v_proj.lora_A.weight"), 2);
  EXPECT_EQ(found.at(layer + "mlp.down_proj.lora_A.weight"), 6);
  EXPECT_NE(on_top->summary().find("beneath it"), std::string::npos);
}

// The chain of adapters of several ranks does what merging each does.
TEST_F(PeftCounterparts, test_multirank_2) {
  auto first = lora({{"r", 4}, {"use_rslora", true}});
  first.rank_pattern = SitePatterns({{"v_proj", 1}, {"q_proj", 7}}, "first");
  const auto a = save("a", first), b = save("b", lora({{"r", 3}, {"alpha", 5}}));
  const auto both = load(b, {a});
  const at::Tensor chain = logits();
  both->save_merged(scratch_ / "merged");
  EXPECT_TRUE(is_close(logits_of(*open(scratch_ / "merged")), chain));
}

TEST_F(PeftCounterparts, test_sequential_merge_matches_batch_merge) {
  const auto a = save("a", lora({{"r", 2}})),
             b = save("b", options_of("loha", {{"r", 2}}, {"q_proj", "up_proj"}));
  load(b, {a})->save_merged(scratch_ / "at_once");
  load(a)->save_merged(scratch_ / "first");
  model_ = open(scratch_ / "first");
  load(b)->save_merged(scratch_ / "then");
  const auto at_once = open(scratch_ / "at_once"), then = open(scratch_ / "then");
  for (std::size_t i = 0; i < at_once->params().size(); ++i)
    EXPECT_TRUE(at::equal(at_once->params()[i].tensor, then->params()[i].tensor))
        << at_once->params()[i].name;
}

// Nothing has to be undone: merging leaves the model and its adapters as they were, to the last bit.
TEST_F(PeftCounterparts, test_unmerge_after_sequential_merge_restores_base) {
  const auto a = save("a", lora({{"r", 2}})), b = save("b", lora({{"r", 3}}));
  const at::Tensor base = logits();
  const Values before = copy_of(model_->params());
  const auto both = load(b, {a});
  const at::Tensor adapted = logits();
  both->save_merged(scratch_ / "merged");
  both->save_merged(scratch_ / "merged");
  EXPECT_TRUE(at::equal(logits(), adapted));
  EXPECT_TRUE(at::equal(logits(/*with_adapters=*/false), base));
  expect_base_unchanged(before);
}

TEST_F(PeftCounterparts, test_requires_grad_lora_different_targets) {
  const auto a = save("a", lora({{"r", 2}}, {"q_proj"}));
  auto options = lora({{"r", 2}}, {"v_proj"});
  options.base_adapters = {a};
  const auto adapter = attach(options);
  for (const auto& item : adapter->tensors()) {
    EXPECT_TRUE(item.tensor.requires_grad()) << item.name;
    EXPECT_NE(item.name.find("v_proj"), std::string::npos);
  }
  for (const auto& param : model_->params()) EXPECT_FALSE(param.tensor.requires_grad()) << param.name;
}

TEST_F(PeftCounterparts, test_requires_grad_modules_to_save_default) {
  auto options = lora({{"r", 2}}, {"q_proj"});
  options.modules_to_save = {"layers.0.input_layernorm"};
  const auto adapter = attach(options);
  int copies = 0;
  for (const auto& item : adapter->tensors()) {
    EXPECT_TRUE(item.tensor.requires_grad()) << item.name;
    copies += item.is_copy ? 1 : 0;
  }
  EXPECT_EQ(copies, 1);
  for (const auto& param : model_->params()) EXPECT_FALSE(param.tensor.requires_grad()) << param.name;
}

// ---- test_mixed.py ----------------------------------------------------------------------------------------

TEST_F(PeftCounterparts, test_target_different_layers) {
  const auto a = save("a", lora({{"r", 2}}, {"q_proj"})),
             b = save("b", options_of("lokr", {{"r", 2}}, {"down_proj"}));
  at::Tensor in_order, reversed;
  {
    const auto adapter = load(b, {a});
    in_order = logits();
  }
  const auto adapter = load(a, {b});
  EXPECT_TRUE(is_close(logits(), in_order));
}

// Four methods on the same layers, one above the other.
TEST_F(PeftCounterparts, test_deeply_nested) {
  const auto a = save("a", lora({{"r", 2}})), b = save("b", options_of("loha", {{"r", 2}})),
             c = save("c", options_of("oft", {{"oft_block_size", 8}})),
             d = save("d", lora({{"r", 2}, {"use_dora", true}}));
  const at::Tensor base = logits();
  const auto adapter = load(d, {a, b, c});
  const at::Tensor chain = logits();
  EXPECT_FALSE(at::allclose(chain, base, 1e-3, 1e-3));
  EXPECT_TRUE(at::equal(logits(/*with_adapters=*/false), base));
  adapter->save_merged(scratch_ / "merged");
  EXPECT_TRUE(is_close(logits_of(*open(scratch_ / "merged")), chain));
}

// ---- test_vera.py -----------------------------------------------------------------------------------------

TEST_F(PeftCounterparts, test_save_projection_true_restores_saved_projections) {
  const auto directory = save("vera", options_of("vera", {{"r", 4}, {"projection_prng_key", 3}}));
  const fs::path file = directory / "adapter_model.safetensors";
  model::NamedTensors tensors;
  {
    const model::SafetensorsFile stored(file);
    for (const auto& entry : stored.entries()) {
      const at::Tensor value = stored.view(entry).clone();
      tensors.emplace_back(entry.name, entry.name == "base_model.vera_A" ? value * 2.0 : value);
    }
  }
  model::write_safetensors(file, tensors);
  const auto adapter = load(directory);
  for (const auto& [name, value] : tensors) {
    if (name != "base_model.vera_A") continue;
    for (const auto& item : adapter->tensors()) {
      if (item.name == "vera_A") {
        EXPECT_TRUE(at::equal(item.tensor, value));
      }
    }
  }
}

// PEFT: test_multiple_adapters_save_load_save_projection_false too.
TEST_F(PeftCounterparts, test_multiple_adapters_save_projection_false_contains_no_vera_A_vera_B) {
  at::Tensor expected;
  {
    const auto adapter =
        attach(options_of("vera", {{"r", 4}, {"projection_prng_key", 3}, {"save_projection", false}}));
    move(*adapter);
    expected = logits();
    adapter->save(scratch_ / "vera");
  }
  const model::SafetensorsFile stored(scratch_ / "vera/adapter_model.safetensors");
  for (const auto& entry : stored.entries())
    EXPECT_TRUE(entry.name.find("vera_A") == std::string::npos &&
                entry.name.find("vera_B") == std::string::npos)
        << entry.name;
  const auto adapter = load(scratch_ / "vera");
  EXPECT_TRUE(is_close(logits(), expected));
}

// PEFT: test_vera_lambda_dont_share_memory too.
TEST_F(PeftCounterparts, test_vera_A_vera_B_share_memory) {
  const auto adapter = attach(options_of("vera", {{"r", 4}}));
  std::map<const void*, int> shared, own;
  for (const auto& item : adapter->tensors()) ++(item.site < 0 ? shared : own)[item.tensor.data_ptr()];
  EXPECT_EQ(shared.size(), 2u);
  for (const auto& [data, count] : own) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace graft::adapt
