// SPDX-License-Identifier: Apache-2.0
// The strategies other than LoRA, each by its formula, on one small layer. Against PEFT itself: tests/embed/peft_methods.py.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/block_diag.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <tuple>

#include "support/error.h"
#include "tests/adapt/strategy_layer.h"

namespace graft::adapt {
namespace {

using nlohmann::json;
using test::StrategyLayer;
using Formula = std::function<at::Tensor(const StrategyLayer&, const at::Tensor&)>;

// R [6, 6] of OFT's parameters with blocks of 3: the exact rotation, or the series of five terms.
at::Tensor rotation(const at::Tensor& weight, bool is_exact) {
  std::vector<at::Tensor> blocks;
  for (std::int64_t i = 0; i < 2; ++i) {
    const auto v = weight[weight.size(0) == 1 ? 0 : i], zero = at::zeros({});
    const auto q = at::stack({zero, v[0], v[1], -v[0], zero, v[2], -v[1], -v[2], zero}).view({3, 3});
    const auto one = at::eye(3), square = at::matmul(q, q);
    blocks.push_back(is_exact
                         ? at::matmul(one - q, at::linalg_inv(one + q))
                         : one + 2 * q + 2 * square + 2 * at::matmul(square, q) + at::matmul(square, square));
  }
  return at::block_diag(blocks);
}

// The sum over RandLoRA's bases as PEFT numbers them, for r = 4 and six inputs.
at::Tensor full_rank(const StrategyLayer& l) {
  const auto a = l.param("randlora_A"), b = l.param("randlora_B");
  const auto down = (l.param("randlora_lambda").unsqueeze(2) * a * l.param("randlora_gamma")).flatten(0, 1);
  return at::matmul(b.flatten(1), down);
}

struct Method {
  const char* plugin;
  json params;
  Formula formula;  // of the layer in evaluation mode
};

Formula hadamard(double scale) {
  return [scale](const StrategyLayer& l, const at::Tensor& x) {
    const auto first = at::matmul(l.param("hada_w1_a"), l.param("hada_w1_b"));
    const auto second = at::matmul(l.param("hada_w2_a"), l.param("hada_w2_b"));
    return l.base(x) + scale * at::linear(x, first * second);
  };
}

const std::vector<Method>& methods() {
  static const auto* const list = new std::vector<Method>{
      {"ia3",
       {{"feedforward_modules", json::array()}},
       [](const auto& l, const auto& x) { return l.base(x) * l.param("ia3_l").flatten(); }},
      {"ia3",
       {{"feedforward_modules", {"down_proj"}}},
       [](const auto& l, const auto& x) { return l.base(x * l.param("ia3_l")); }},
      {"vera",
       {{"r", 4}, {"d_initial", 0.5}, {"projection_prng_key", 9}, {"save_projection", false}},
       [](const auto& l, const auto& x) {
         const auto down = at::linear(x, l.param("vera_A")) * l.param("vera_lambda_d");
         return l.base(x) + at::linear(down, l.param("vera_B")) * l.param("vera_lambda_b");
       }},
      {"hira",
       {{"r", 3}},
       [](const auto& l, const auto& x) {
         const auto factor = at::matmul(l.param("hira_B"), l.param("hira_A"));
         return l.base(x) + at::linear(x, l.weight * factor);
       }},
      {"miss",
       {{"r", 4}},  // the second part of six features is filled up
       [](const auto& l, const auto& x) {
         const auto parts = at::constant_pad_nd(x, {0, 2}).view({x.size(0), 2, 4});
         return l.base(x) + at::matmul(parts.sum(1), l.param("miss_block"));
       }},
      {"miss",
       {{"r", 3}, {"init_weights", "mini"}, {"mini_r", 4}},
       [](const auto& l, const auto& x) {
         const auto parts = x.view({x.size(0), 2, 3});
         return l.base(x) + at::matmul(parts.sum(1), l.param("miss_block").repeat({1, 2}));
       }},
      {"miss",
       {{"r", 2}, {"init_weights", "bat"}},
       [](const auto& l, const auto& x) {
         const auto blocks = l.weight.view({4, 2, 3, 2}).permute({2, 0, 1, 3}), d = l.param("miss_block");
         const auto update = (at::matmul(blocks, d) + d).permute({1, 2, 0, 3}).reshape({8, 6});
         return l.base(x) + at::linear(x, update);
       }},
      {"adalora",
       {{"init_r", 3}, {"target_r", 2}, {"alpha", 8}, {"total_step", 9}, {"tinit", 2}},
       [](const auto& l, const auto& x) {
         const auto a = l.param("lora_A") * l.param("lora_E");
         return l.base(x) + at::linear(at::linear(x, a), l.param("lora_B")) * (8 / (3 + 1e-5));
       }},
      {"loha", {{"r", 1}, {"alpha", 2}}, hadamard(2.0)},  // by the products of columns
      {"loha", {{"r", 4}, {"alpha", 2}}, hadamard(0.5)},  // by the matrix itself
      {"lokr",
       {{"r", 1}, {"alpha", 2}, {"decompose_factor", -1}},
       [](const auto& l, const auto& x) {
         const auto second = at::matmul(l.param("lokr_w2_a"), l.param("lokr_w2_b"));
         return l.base(x) + 2 * at::linear(x, at::kron(l.param("lokr_w1"), second));
       }},
      {"lokr",
       {{"r", 8}, {"alpha", 4}, {"init", "lycoris"}},
       [](const auto& l, const auto& x) {
         return l.base(x) + 0.5 * at::linear(x, at::kron(l.param("lokr_w1"), l.param("lokr_w2")));
       }},
      {"lokr",
       {{"r", 1}, {"alpha", 2}, {"decompose_both", true}, {"decompose_factor", 4}},
       [](const auto& l, const auto& x) {
         const auto first = at::matmul(l.param("lokr_w1_a"), l.param("lokr_w1_b"));
         const auto second = at::matmul(l.param("lokr_w2_a"), l.param("lokr_w2_b"));
         return l.base(x) + 2 * at::linear(x, at::kron(first, second));
       }},
      {"oft",
       {{"oft_block_size", 3}},
       [](const auto& l, const auto& x) {
         return l.base(at::matmul(x, rotation(l.param("oft_R.weight"), false)));
       }},
      {"oft",
       {{"r", 2}, {"use_cayley_neumann", false}},
       [](const auto& l, const auto& x) {
         return l.base(at::matmul(x, rotation(l.param("oft_R.weight"), true)));
       }},
      {"oft",
       {{"oft_block_size", 3}, {"block_share", true}},
       [](const auto& l, const auto& x) {
         return l.base(at::matmul(x, rotation(l.param("oft_R.weight"), false)));
       }},
      {"randlora",
       {{"r", 4}, {"alpha", 2}, {"projection_prng_key", 9}, {"save_projection", false}},
       [](const auto& l, const auto& x) { return l.base(x) + 0.5 * at::linear(x, full_rank(l)); }},
      {"randlora",
       {{"r", 4}, {"alpha", 2}, {"sparse", true}},
       [](const auto& l, const auto& x) { return l.base(x) + 0.5 * at::linear(x, full_rank(l)); }},
  };
  return *list;
}

std::string label(const Method& method) {
  return std::string(method.plugin) + ' ' + method.params.dump();
}

TEST(Strategies, FollowTheirFormula) {
  for (const auto& method : methods()) {
    StrategyLayer layer(method.plugin, method.params);
    layer.train();
    const auto x = at::randn({5, 6}), y = layer(x);
    EXPECT_TRUE(at::allclose(y, method.formula(layer, x), 1e-5, 1e-5)) << label(method);
    EXPECT_FALSE(at::allclose(y, layer.base(x), 1e-2, 1e-2)) << label(method);
  }
}

TEST(Strategies, HaveTheGradientsOfTheirFormula) {
  for (const auto& method : methods()) {
    StrategyLayer layer(method.plugin, method.params);
    layer.train();
    const auto input = at::randn({5, 6}), seed = at::randn({5, 8});
    const auto gradients = [&](const auto& forward) {
      const auto x = input.clone().requires_grad_(true);
      forward(x).backward(seed);
      std::vector<at::Tensor> list = {x.grad()};
      for (auto& tensor : layer.plan.tensors) {
        if (!tensor.is_trained) continue;
        list.push_back(tensor.tensor.grad());
        tensor.tensor.mutable_grad().reset();
      }
      return list;
    };
    const auto found = gradients([&](const at::Tensor& x) { return layer(x); });
    const auto expected = gradients([&](const at::Tensor& x) { return method.formula(layer, x); });
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_TRUE(at::allclose(found[i], expected[i], 1e-4, 1e-5)) << label(method) << ", tensor " << i;
    }
  }
}

TEST(Strategies, ChangeNothingAtTheStart) {
  for (const auto& method : methods()) {
    StrategyLayer layer(method.plugin, method.params);
    const auto x = at::randn({5, 6});
    EXPECT_TRUE(at::equal(layer(x), layer.base(x))) << label(method);
  }
}

TEST(Strategies, MergeToTheSameLayer) {
  for (const auto& method : methods()) {
    for (const bool has_bias : {true, false}) {
      StrategyLayer layer(method.plugin, method.params, {6, 8, has_bias});
      layer.train();
      const auto x = at::randn({5, 6});
      EXPECT_TRUE(at::allclose(layer.merged(x), layer(x), 1e-5, 1e-5)) << label(method);
    }
  }
}

TEST(Strategies, KeepTheDtypeOfABfloat16Model) {
  for (const auto& method : methods()) {
    StrategyLayer layer(method.plugin, method.params);
    layer.train();
    const auto x = at::randn({5, 6}).to(at::kBFloat16), y = layer(x);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16) << label(method);
    EXPECT_TRUE(at::allclose(y.to(at::kFloat), method.formula(layer, x.to(at::kFloat)), 5e-2, 2e-1))
        << label(method);
    y.sum().backward();
    for (const auto& tensor : layer.plan.tensors) {
      if (!tensor.is_trained) continue;
      EXPECT_EQ(tensor.tensor.grad().scalar_type(), at::kFloat) << label(method);
    }
  }
}

TEST(Strategies, ReadTheConfigurationThatTheyWrite) {
  for (const auto& method : methods()) {
    const StrategyLayer layer(method.plugin, method.params);
    const json params = test::imported(method.plugin, layer.exported());
    for (const auto& [key, value] : method.params.items()) {
      EXPECT_EQ(params.value(key, json()), value) << params << " of " << layer.exported();
    }
  }
}

struct Fault {
  const char* plugin;
  json given;
  const char* text;  // in the message
};

TEST(Strategies, RefuseParametersThatMakeNoSense) {
  const Fault faults[] = {
      {"ia3", {{"feedforward_modules", {"(down|up)_proj"}}}, "expected the end of a layer's name"},
      {"vera", {{"r", 0}}, "r"},
      {"miss", {{"r", 7}}, "too large for model.layers.0.mlp.down_proj"},
      {"miss", {{"r", 4}, {"init_weights", "bat"}}, "divides both sizes"},
      {"miss", {{"r", 2}, {"init_weights", "mini"}, {"mini_r", 3}}, "does not divide the outputs"},
      {"miss", {{"r", 2}, {"mini_r", 2}}, "mini_r has no effect"},
      {"miss", {{"r", 2}, {"init_weights", "bat"}, {"dropout", 0.1}}, "dropout has no effect"},
      {"adalora", {{"init_r", 4}, {"target_r", 8}}, "more than init_r"},
      {"adalora", {{"tinit", 3}, {"tfinal", 2}, {"total_step", 5}}, "of 5 steps none is left"},
      {"loha", {{"r", 0}}, "r"},
      {"lokr", {{"decompose_factor", 0}}, "decompose_factor is 0"},
      {"oft", {{"r", 2}, {"oft_block_size", 3}}, "both given"},
      {"oft", {{"r", 6}}, "blocks of size 1"},
      {"oft", {{"num_cayley_neumann_terms", 1}}, "num_cayley_neumann_terms"},
      {"randlora", {{"alpha", 0}}, "alpha"},
  };
  for (const auto& [plugin, given, text] : faults) {
    try {
      const StrategyLayer layer(plugin, given);
      ADD_FAILURE() << plugin << " took " << given;
    } catch (const support::Error& e) {
      EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
    }
  }
}

TEST(Strategies, DropWholeOutputsOrLayersOfLycorisInTraining) {
  for (const char* plugin : {"loha", "lokr"}) {
    const auto x = at::randn({50, 6});
    StrategyLayer columns(plugin, {{"rank_dropout", 0.5}});
    columns.train();
    const auto update = columns(x, true) - columns.base(x), whole = columns(x) - columns.base(x);
    for (std::int64_t i = 0; i < 8; ++i) {  // each output is gone for all tokens, or there for all
      const auto ratio = (update.select(1, i) / whole.select(1, i)).detach();
      EXPECT_TRUE(at::allclose(ratio, ratio[0].expand(50), 1e-2, 1e-2)) << plugin << ' ' << i;
    }
    StrategyLayer layer(plugin, {{"module_dropout", 0.5}});
    layer.train();
    std::int64_t dropped = 0;
    for (int i = 0; i < 100; ++i) dropped += at::equal(layer(x, true), layer.base(x)) ? 1 : 0;
    EXPECT_GT(dropped, 20) << plugin;
    EXPECT_LT(dropped, 80) << plugin;
  }
}

TEST(Strategies, ConstrainedOftStaysWithinItsNorm) {
  StrategyLayer layer("oft", {{"oft_block_size", 3}, {"coft", true}, {"eps", 0.1}});
  layer.train();
  const auto weight = layer.param("oft_R.weight");
  const auto before = weight.detach().clone();
  const auto y = layer(at::randn({5, 6}));
  EXPECT_TRUE(at::equal(weight, before));  // a pass leaves it alone
  const at::NoGradGuard no_grad;
  layer.strategy.before_update(
      ModelView(*layer.plan.hook, layer.sites, layer.params, Weights::kNone, Grads::kLent).raw());
  const auto norm = (2 * weight.square().sum(1)).sqrt();
  EXPECT_LE(norm.max().item<double>(), 0.1 / std::sqrt(2.0) * (1 + 1e-6));
  EXPECT_GT(norm.min().item<double>(), 0.05 / std::sqrt(2.0));
}

TEST(Strategies, RefuseFilesWithWhatTheyDoNotOffer) {
  const Fault faults[] = {
      {"ia3", {{"feedforward_modules", ".*mlp.*"}}, "feedforward_modules"},
      {"ia3", {{"feedforward_modules", nullptr}}, "feedforward_modules"},
      {"ia3", {{"fan_in_fan_out", true}}, "fan_in_fan_out"},
      {"ia3", {{"peft_type", "LORA"}}, "peft_type"},
      {"vera", {{"bias", "vera_only"}}, "bias"},
      {"vera", {{"fan_in_fan_out", true}}, "fan_in_fan_out"},
      {"hira", {{"fan_in_fan_out", true}}, "fan_in_fan_out"},
      {"adalora", {{"bias", "lora_only"}}, "bias"},
      {"adalora", {{"use_dora", true}}, "use_dora"},
      {"loha", {{"peft_type", "LOKR"}}, "peft_type"},
      {"lokr", {{"peft_type", "LOHA"}}, "peft_type"},
      {"oft", {{"bias", "oft_only"}}, "bias"},
      {"oft", {{"fan_in_fan_out", true}}, "fan_in_fan_out"},
      {"oft", {{"peft_version", "0.17.1"}}, "peft_version"},
      {"randlora", {{"bias", "all"}}, "bias"},
      {"randlora", {{"fan_in_fan_out", true}}, "fan_in_fan_out"},
  };
  for (const auto& [plugin, given, text] : faults) {
    json config = StrategyLayer(plugin, json::object(), {64, 64}).exported();
    config.update(given);
    const std::string refusal = test::imported(plugin, config).value("refused", "nothing");
    EXPECT_NE(refusal.find(text), std::string::npos) << plugin << given << ": " << refusal;
  }
}

// ---- VeRA: PEFT's test_vera.py ------------------------------------------------------------------------------

TEST(Vera, TheSameKeyGivesTheSameMatricesAndAnotherKeyOthers) {
  const auto matrices = [](int key) {
    const StrategyLayer layer("vera", {{"r", 4}, {"projection_prng_key", key}});
    return std::vector<at::Tensor>{layer.param("vera_A"), layer.param("vera_B")};
  };
  const auto first = matrices(5), again = matrices(5), other = matrices(6);
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(at::equal(first[i], again[i]));
    EXPECT_FALSE(at::allclose(first[i], other[i]));
  }
}

TEST(Vera, TheMatricesAreThoseThatTorchDrawsOnTheCpu) {
  const StrategyLayer layer("vera", {{"r", 40}, {"projection_prng_key", 1234}}, {50, 30});
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1234);
  const auto draw = [&](std::int64_t rows, std::int64_t columns) {
    const double bound = std::sqrt(3.0) * (std::sqrt(2.0) / std::sqrt(static_cast<double>(columns)));
    return at::empty({rows, columns}).uniform_(-bound, bound, generator);
  };
  EXPECT_TRUE(at::equal(layer.param("vera_A"), draw(40, 50)));
  EXPECT_TRUE(at::equal(layer.param("vera_B"), draw(30, 40)));
}

TEST(Vera, LayersOfDifferentShapesShareMatricesOfTheLargestSize) {
  const Strategy strategy(test::registry_of("vera"), "vera", {{"r", 3}});
  const std::vector<model::Site> sites = {{"wide", 0, -1, GRAFT_COMPONENT_LANGUAGE, 20, 5},
                                          {"tall", 1, -1, GRAFT_COMPONENT_LANGUAGE, 7, 30}};
  const auto shared = strategy.plan_model({{&sites[0], {}}, {&sites[1], {}}});
  ASSERT_EQ(shared.size(), 2u);
  EXPECT_EQ(shared[0].sizes, (std::vector<std::int64_t>{3, 20}));
  EXPECT_EQ(shared[1].sizes, (std::vector<std::int64_t>{30, 3}));
  EXPECT_TRUE(shared[0].is_saved && !shared[0].is_trained);
  const Strategy keyed(test::registry_of("vera"), "vera", {{"save_projection", false}});
  EXPECT_FALSE(keyed.plan_model({{&sites[0], {}}})[0].is_saved);
}

// ---- AdaLoRA; its allocation against PEFT's: tests/embed/peft_adalora.py -----------------------------------

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
