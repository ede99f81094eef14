// SPDX-License-Identifier: Apache-2.0
// The strategies other than LoRA, each by its formula, on one small layer. Against PEFT itself: tests/embed/peft_methods.py.
#include <ATen/ops/allclose.h>
#include <ATen/ops/block_diag.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
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

// PEFT: test_vera_dtypes.
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

}  // namespace
}  // namespace graft::adapt
