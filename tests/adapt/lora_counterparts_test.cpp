// SPDX-License-Identifier: Apache-2.0
// Counterparts of PEFT's tests of LoRA and its variants, under their names; see tests/adapt/README.md.
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include <cmath>

#include "adapt/optimizer.h"
#include "tests/adapt/peft_counterparts.h"

namespace graft::adapt {
namespace {

using namespace counterparts;  // NOLINT(google-build-using-namespace): of this folder's tests

// ---- test_loraplus.py, test_lorafa.py ---------------------------------------------------------------------

TEST_F(PeftCounterparts, test_lora_plus_helper_sucess) {  // as PEFT spells it
  const auto adapter = attach(lora({{"r", 2}, {"lr_ratio", 16}}));
  for (const auto& item : adapter->tensors())
    EXPECT_EQ(item.learning_rate_scale, item.name.ends_with("lora_B.weight") ? 16.0 : 1.0) << item.name;
}

// One step moves B by ratio times what it moves A, where the gradients' signs decide.
TEST_F(PeftCounterparts, test_lora_plus_optimizer_sucess) {
  const auto adapter = attach(lora({{"r", 2}, {"lr_ratio", 4}}));
  AdamW optimizer(adapter->tensors(), {.learning_rate = 1e-3, .eps = 1e-12, .weight_decay = 0.0});
  std::vector<at::Tensor> before;
  for (const auto& item : adapter->tensors()) {
    before.push_back(item.tensor.detach().clone());
    item.tensor.mutable_grad() = at::ones_like(item.tensor);
  }
  optimizer.step(1e-3);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto& item = adapter->tensors()[i];
    const double moved = (item.tensor.detach() - before[i]).abs().max().item<double>();
    EXPECT_NEAR(moved, item.name.ends_with("lora_B.weight") ? 4e-3 : 1e-3, 1e-6) << item.name;
  }
}

TEST_F(PeftCounterparts, test_lorafa_init) {
  const auto adapter = attach(lora({{"r", 2}, {"freeze_a", true}}));
  for (const auto& item : adapter->tensors())
    EXPECT_EQ(item.tensor.requires_grad(), item.name.ends_with("lora_B.weight")) << item.name;
}

// ---- test_lora_variants.py --------------------------------------------------------------------------------

TEST_F(PeftCounterparts, test_dora_params_have_gradients) {
  const auto adapter = attach(lora({{"r", 2}, {"use_dora", true}}));
  move(*adapter);
  const auto made = tests::tiny_prompt(*model_, "Where is it?", "");
  model::PackedSequences sequences;
  sequences.prompt = &made.prompt;
  const std::vector<model::PackedSequences> groups = {sequences};
  const auto hidden = model_->decode(model::pack_input(groups, model_->position_rank()),
                                     model::packed_attention(model::packed_groups(groups)), {});
  model_->head(hidden, {}).square().sum().backward();
  int magnitudes = 0;
  for (const auto& item : adapter->tensors()) {
    EXPECT_EQ(item.tensor.grad().defined(), item.is_trained) << item.name;
    if (item.is_trained) {
      EXPECT_GT(item.tensor.grad().abs().max().item<double>(), 0.0) << item.name;
    }
    magnitudes += item.name.ends_with("lora_magnitude_vector") ? 1 : 0;
  }
  EXPECT_GT(magnitudes, 0);
}

// Merging neither changes the layer nor the magnitudes, so nothing has to be inverted.
TEST_F(PeftCounterparts, test_dora_unmerge_inverts_merge_for_fan_in_fan_out_layer) {
  const auto adapter = attach(lora({{"r", 2}, {"use_dora", true}}));
  move(*adapter);
  const Values before = copy_of(model_->params());
  const at::Tensor adapted = logits();
  adapter->save_merged(scratch_ / "merged");
  EXPECT_TRUE(at::equal(logits(), adapted));
  expect_base_unchanged(before);
  EXPECT_TRUE(is_close(logits_of(*open(scratch_ / "merged")), adapted));
}

// ---- test_initialization.py -------------------------------------------------------------------------------

TEST_F(PeftCounterparts, test_lora_use_dora_linear) {
  const at::Tensor base = logits();
  const auto adapter = attach(lora({{"r", 4}, {"use_dora", true}}));
  EXPECT_TRUE(is_close(logits(), base));
  EXPECT_TRUE(at::equal(logits(/*with_adapters=*/false), base));
}

// An adapter that started as a part of W, saved: a plain one of twice the rank on the unchanged model.
class ConversionTest : public PeftCounterparts {
 protected:
  void run(json params, const SitePatterns& ranks = {}, const SitePatterns& alphas = {}) {
    const Values before = copy_of(model_->params());
    const auto base = logits();
    auto options = lora(params);
    options.rank_pattern = ranks;
    options.alpha_pattern = alphas;
    at::Tensor expected;
    {
      const auto adapter = attach(options);
      EXPECT_TRUE(is_close(logits(), base));
      move(*adapter);
      expected = logits();
      adapter->save(scratch_ / "converted");
    }
    EXPECT_FALSE(at::allclose(expected, base, 1e-3, 1e-3));
    const json config = config_in(scratch_ / "converted");
    EXPECT_EQ(config.at("r"), 2 * params.at("r").get<int>());
    EXPECT_EQ(config.at("init_lora_weights"), true);
    for (const auto& [pattern, rank] : config.at("rank_pattern").items())
      EXPECT_EQ(rank.get<int>() % 2, 0) << pattern;
    model_ = tests::open_tiny_model();  // as any tool would load it
    const auto loaded = load(scratch_ / "converted");
    EXPECT_TRUE(is_close(logits(), expected));
    expect_base_unchanged(before);
  }
  const SitePatterns ranks_{{{"q_proj", 6}, {"layers\\.1\\..*", 2}}, "ranks"};
  const SitePatterns alphas_{{{"down_proj", 5}}, "alphas"};
};

#define GRAFT_CONVERSION(start, name)                                                                    \
  TEST_F(ConversionTest, name##_conversion_same_output_after_loading) {                                  \
    run({{"r", 4}, {"alpha", 8}, {"init", #start}});                                                     \
  }                                                                                                      \
  TEST_F(ConversionTest, name##_conversion_same_output_after_loading_with_rank_pattern) {                \
    run({{"r", 4}, {"alpha", 8}, {"init", #start}}, ranks_);                                             \
  }                                                                                                      \
  TEST_F(ConversionTest, name##_conversion_same_output_after_loading_with_alpha_pattern) {               \
    run({{"r", 4}, {"alpha", 8}, {"init", #start}}, {}, alphas_);                                        \
  }                                                                                                      \
  TEST_F(ConversionTest, name##_conversion_same_output_after_loading_with_rslora) {                      \
    run({{"r", 4}, {"alpha", 8}, {"init", #start}, {"use_rslora", true}});                               \
  }                                                                                                      \
  /* which PEFT refuses: test_…_rank_pattern_and_rslora_raises, …_alpha_pattern_and_rslora_raises */ \
  TEST_F(ConversionTest, name##_conversion_with_patterns_and_rslora) {                                   \
    run({{"r", 4}, {"alpha", 8}, {"init", #start}, {"use_rslora", true}}, ranks_, alphas_);              \
  }
GRAFT_CONVERSION(pissa, test_lora_pissa)
GRAFT_CONVERSION(olora, test_olora)
#undef GRAFT_CONVERSION

// s = α / r, or α / √r, with each layer's own α and r: what merging adds is s B A.
class ScalingTest : public PeftCounterparts {
 protected:
  void expect_scales(const AttachOptions& options, const std::map<std::string, double>& scales) {
    const auto adapter = attach(options);
    move(*adapter);
    adapter->save_merged(scratch_ / "merged");
    const auto merged = open(scratch_ / "merged");
    Values factors;
    for (const auto& item : adapter->tensors()) factors[item.name] = item.tensor.detach();
    for (std::size_t i = 0; i < merged->params().size(); ++i) {
      const std::string name = merged->params()[i].name;
      for (const auto& [ending, scale] : scales) {
        if (!name.ends_with(ending + ".weight") || name.find("language_model") == std::string::npos) continue;
        const std::string layer = name.substr(0, name.size() - std::string(".weight").size());
        const at::Tensor update =
            at::matmul(factors.at(layer + ".lora_B.weight"), factors.at(layer + ".lora_A.weight")) * scale;
        const at::Tensor added = merged->params()[i].tensor - model_->params()[i].tensor;
        EXPECT_TRUE(at::allclose(added, update, 1e-3, 1e-6)) << name;
      }
    }
  }
};

TEST_F(ScalingTest, test_lora_scaling_default) {
  expect_scales(lora({{"r", 8}, {"alpha", 3}}), {{"q_proj", 3.0 / 8}, {"down_proj", 3.0 / 8}});
}

TEST_F(ScalingTest, test_lora_rslora_scaling) {
  expect_scales(lora({{"r", 8}, {"alpha", 3}, {"use_rslora", true}}), {{"q_proj", 3.0 / std::sqrt(8.0)}});
}

AttachOptions with_patterns(json params) {
  auto options = lora(std::move(params));
  options.rank_pattern = SitePatterns({{"q_proj", 2}, {"v_proj", 5}}, "ranks");
  options.alpha_pattern = SitePatterns({{"v_proj", 7}, {"down_proj", 1}}, "alphas");
  return options;
}

TEST_F(ScalingTest, test_lora_default_scaling_pattern) {
  expect_scales(with_patterns({{"r", 8}, {"alpha", 3}}),
                {{"q_proj", 3.0 / 2}, {"v_proj", 7.0 / 5}, {"down_proj", 1.0 / 8}});
}

TEST_F(ScalingTest, test_lora_rslora_scaling_pattern) {
  expect_scales(with_patterns({{"r", 8}, {"alpha", 3}, {"use_rslora", true}}),
                {{"q_proj", 3.0 / std::sqrt(2.0)},
                 {"v_proj", 7.0 / std::sqrt(5.0)},
                 {"down_proj", 1.0 / std::sqrt(8.0)}});
}

}  // namespace
}  // namespace graft::adapt
