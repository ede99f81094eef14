// SPDX-License-Identifier: Apache-2.0
// How LoRA's matrices start. Tests are named after their counterparts in PEFT's tests/test_initialization.py.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "adapt/adapter.h"
#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

// The tiny model with LoRA on its decoder, before any step.
class Fresh {
 public:
  Fresh(const Fresh&) = delete;
  Fresh& operator=(const Fresh&) = delete;
  explicit Fresh(const nlohmann::json& params, const SitePatterns& ranks = {},
                 const SitePatterns& alphas = {}, std::uint64_t seed = 1)
      : model(tests::open_tiny_model()) {
    AttachOptions options;
    options.strategy = "lora";
    options.params = params;
    options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
    options.rank_pattern = ranks;
    options.alpha_pattern = alphas;
    options.seed = seed;
    adapter = Adapter::attach(*model, tests::tiny_registry(), options);
    for (const auto& item : adapter->tensors()) by_name[item.name] = item.tensor.detach();
  }

  // Of the first layer's down projection: [128, 256].
  [[nodiscard]] at::Tensor tensor(const std::string& suffix) const {
    return by_name.at("model.language_model.layers.0.mlp.down_proj." + suffix);
  }
  [[nodiscard]] at::Tensor a() const { return tensor("lora_A.weight"); }
  [[nodiscard]] at::Tensor b() const { return tensor("lora_B.weight"); }
  [[nodiscard]] at::Tensor weight() const {
    for (const auto& param : model->params()) {
      if (param.name == "model.language_model.layers.0.mlp.down_proj.weight") return param.tensor;
    }
    return {};
  }

  std::unique_ptr<model::Model> model;
  std::unique_ptr<Adapter> adapter;
  std::map<std::string, at::Tensor> by_name;
};

double std_of(const at::Tensor& x) {
  return x.std().item<double>();
}

TEST(LoraInitialization, test_lora_linear_init_default) {
  const Fresh fresh(nlohmann::json{{"r", 64}});
  const double bound = 1.0 / std::sqrt(256.0);
  EXPECT_LE(fresh.a().abs().max().item<double>(), bound);
  EXPECT_NEAR(std_of(fresh.a()), bound / std::sqrt(3.0), 0.02 * bound);
  EXPECT_NEAR(fresh.a().mean().item<double>(), 0.0, 0.02 * bound);
  EXPECT_TRUE(fresh.b().eq(0.0).all().item<bool>());
}

TEST(LoraInitialization, test_lora_linear_init_gaussian) {
  const Fresh fresh({{"r", 32}, {"init", "gaussian"}});
  EXPECT_NEAR(std_of(fresh.a()), 1.0 / 32.0, 0.02 / 32.0);
  EXPECT_GT(fresh.a().abs().max().item<double>(), 3.0 / 32.0);  // no uniform distribution
  EXPECT_TRUE(fresh.b().eq(0.0).all().item<bool>());
}

TEST(LoraInitialization, test_lora_init_orthogonal) {
  const Fresh fresh({{"r", 16}, {"init", "orthogonal"}});
  EXPECT_GT(std_of(fresh.a()), 0.01);
  EXPECT_GT(std_of(fresh.b()), 0.01);
  EXPECT_LT(at::matmul(fresh.b(), fresh.a()).abs().max().item<double>(), 1e-5);
}

TEST(LoraInitialization, test_lora_init_orthogonal_odd_rank_raises) {
  const auto message = test::message_of<support::UserError>([] {
    Fresh({{"r", 7}, {"init", "orthogonal"}});
  });
  EXPECT_TRUE(test::contains(message, "even r")) << message;
}

// s B A is the part of W with the r largest singular values, shared out equally.
TEST(LoraInitialization, test_lora_pissa_linear_init_default) {
  const Fresh fresh({{"r", 8}, {"alpha", 4}, {"init", "pissa"}});
  const auto [u, s, v] = at::linalg_svd(fresh.weight(), false);
  const at::Tensor best = at::matmul(u.narrow(1, 0, 8) * s.narrow(0, 0, 8), v.narrow(0, 0, 8));
  EXPECT_TRUE(at::allclose(at::matmul(fresh.b(), fresh.a()) * 0.5, best, 1e-4, 1e-6));
  const at::Tensor down = fresh.a().norm(2, {1}), up = fresh.b().norm(2, {0});
  EXPECT_TRUE(at::allclose(down, up, 1e-4, 1e-6));
}

// The randomised one takes nearly as much of W.
TEST(LoraInitialization, test_lora_pissa_linear_init_niter) {
  const Fresh exact({{"r", 8}, {"init", "pissa"}}),
      quick({{"r", 8}, {"init", "pissa"}, {"pissa_iterations", 4}});
  const auto rest = [](const Fresh& fresh) {
    return (fresh.weight() - at::matmul(fresh.b(), fresh.a()) * 2.0).norm().item<double>();
  };
  EXPECT_GE(rest(quick), rest(exact) * (1.0 - 1e-6));
  EXPECT_LE(rest(quick), rest(exact) * 1.01);
}

TEST(LoraInitialization, test_lora_olora_linear_init_default) {
  const Fresh fresh({{"r", 8}, {"init", "olora"}});
  const at::Tensor gram = at::matmul(fresh.b().t(), fresh.b());
  EXPECT_TRUE(at::allclose(gram, at::eye(8), 1e-4, 1e-5));
  // The first r columns of W are spanned by B.
  const at::Tensor columns = fresh.weight().narrow(1, 0, 8);
  EXPECT_TRUE(at::allclose(at::matmul(fresh.b(), at::matmul(fresh.b().t(), columns)), columns, 1e-4, 1e-5));
}

TEST(LoraInitialization, test_lora_seed_makes_it_reproducible) {
  const Fresh one(nlohmann::json{{"r", 4}}), same(nlohmann::json{{"r", 4}}),
      other(nlohmann::json{{"r", 4}}, {}, {}, 2);
  EXPECT_TRUE(at::equal(one.a(), same.a()));
  EXPECT_FALSE(at::equal(one.a(), other.a()));
}

TEST(LoraInitialization, test_rank_alpha_pattern_override) {
  const SitePatterns ranks({{"layers\\.0\\.mlp\\.down_proj", 2}, {"down_proj", 6}}, "peft.rank_pattern");
  const SitePatterns alphas({{"down_proj", 5}}, "peft.alpha_pattern");
  const Fresh fresh(nlohmann::json{{"r", 4}}, ranks, alphas);
  EXPECT_EQ(fresh.a().size(0), 2);
  EXPECT_EQ(fresh.by_name.at("model.language_model.layers.1.mlp.down_proj.lora_A.weight").size(0), 6);
  EXPECT_EQ(fresh.by_name.at("model.language_model.layers.1.mlp.up_proj.lora_A.weight").size(0), 4);
}

TEST(LoraInitialization, test_rank_of_a_part_of_the_weight_is_bounded_by_it) {
  const auto message = test::message_of<support::UserError>([] { Fresh({{"r", 300}, {"init", "pissa"}}); });
  EXPECT_TRUE(test::contains(message, "more than the rank")) << message;
}

}  // namespace
}  // namespace graft::adapt
