// SPDX-License-Identifier: Apache-2.0
#include "adapt/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <cmath>
#include <filesystem>

#include "support/error.h"

namespace graft::adapt {
namespace {

AdapterTensor trained(const std::string& name, at::Tensor value, bool is_base = false) {
  AdapterTensor tensor;
  tensor.name = name;
  tensor.tensor = value.requires_grad_(true);
  tensor.is_base = is_base;
  return tensor;
}

void set_grad(const AdapterTensor& tensor, const at::Tensor& grad) {
  tensor.tensor.mutable_grad() = grad.clone();
}

struct TemporaryFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("graft_optimizer_" + std::to_string(::getpid()) + ".safetensors");
  ~TemporaryFile() { std::filesystem::remove(path); }
};

TEST(AdamW, FollowsTheFormula) {
  const OptimizerOptions options{
      .learning_rate = 1.0, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.1};
  auto item = trained("w", at::full({1}, 2.0));
  AdamW optimizer({item}, options);
  double w = 2.0, m = 0.0, v = 0.0;
  for (int t = 1; t <= 5; ++t) {
    const double g = 0.3 * t - 0.7, lr = 0.01 * t;
    set_grad(item, at::full({1}, g));
    optimizer.step(lr);
    w *= 1.0 - lr * 0.1;
    m = 0.8 * m + 0.2 * g;
    v = 0.9 * v + 0.1 * g * g;
    w -= lr * (m / (1.0 - std::pow(0.8, t))) / (std::sqrt(v / (1.0 - std::pow(0.9, t))) + 1e-6);
    EXPECT_NEAR(item.tensor.item<double>(), w, 1e-6) << "step " << t;
  }
}

TEST(AdamW, BiasesAndNormsOfTheBaseModelDoNotDecay) {
  const OptimizerOptions options{.weight_decay = 0.5};
  auto norm = trained("norm.weight", at::full({3}, 1.0), true),
       matrix = trained("linear.weight", at::full({3, 3}, 1.0), true);
  auto adapter = trained("scale", at::full({3}, 1.0));
  AdamW optimizer({norm, matrix, adapter}, options);
  for (const auto& item : {norm, matrix, adapter}) set_grad(item, at::zeros(item.tensor.sizes()));
  optimizer.step(0.1);
  EXPECT_EQ(norm.tensor.max().item<float>(), 1.0f);
  EXPECT_LT(matrix.tensor.max().item<float>(), 1.0f);
  EXPECT_LT(adapter.tensor.max().item<float>(), 1.0f);
}

TEST(AdamW, ATensorWithoutAGradientIsLeftAloneAndDoesNotAge) {
  const OptimizerOptions options;
  auto a = trained("a", at::full({2}, 1.0)), b = trained("b", at::full({2}, 1.0));
  AdamW optimizer({a, b}, options);
  for (int t = 0; t < 3; ++t) {
    optimizer.zero_grad();
    set_grad(a, at::full({2}, 0.5));
    optimizer.step(0.1);
  }
  EXPECT_EQ(b.tensor.max().item<float>(), 1.0f);
  set_grad(b, at::full({2}, 0.5));
  optimizer.zero_grad();
  EXPECT_FALSE(b.tensor.grad().defined());
  set_grad(b, at::full({2}, 0.5));
  optimizer.step(0.1);
  EXPECT_NEAR(b.tensor[0].item<double>(), 0.9,
              1e-6);  // a first step is lr · sign(g), bias correction included
}

TEST(AdamW, ClipsTheGlobalNorm) {
  auto a = trained("a", at::zeros({2})), b = trained("b", at::zeros({1}));
  AdamW optimizer({a, b}, {});
  set_grad(a, at::full({2}, 2.0));
  set_grad(b, at::full({1}, 1.0));
  EXPECT_NEAR(optimizer.clip_grad_norm(0.0), 3.0, 1e-6);  // only measures
  EXPECT_EQ(b.tensor.grad().item<float>(), 1.0f);
  EXPECT_NEAR(optimizer.clip_grad_norm(5.0), 3.0, 1e-6);  // small enough
  EXPECT_EQ(b.tensor.grad().item<float>(), 1.0f);
  EXPECT_NEAR(optimizer.clip_grad_norm(1.5), 3.0, 1e-6);
  EXPECT_NEAR(b.tensor.grad().item<double>(), 1.5 / (3.0 + 1e-6), 1e-7);
  EXPECT_NEAR(a.tensor.grad()[0].item<double>(), 3.0 / (3.0 + 1e-6), 1e-6);
}

TEST(AdamW, ANormThatIsNotFiniteIsReportedAndScalesNothing) {
  auto a = trained("a", at::zeros({2}));
  AdamW optimizer({a}, {});
  set_grad(a, at::full({2}, INFINITY));
  EXPECT_TRUE(std::isinf(optimizer.clip_grad_norm(1.0)));
  EXPECT_TRUE(std::isinf(a.tensor.grad()[0].item<double>()));
}

TEST(AdamW, NoGradientsHaveNormZero) {
  EXPECT_EQ(AdamW({trained("a", at::zeros({2}))}, {}).clip_grad_norm(1.0), 0.0);
}

TEST(AdamW, ContinuesFromAFileToTheLastBit) {
  const TemporaryFile file;
  const auto start = at::randn({3, 4}), first = at::randn({3, 4}), second = at::randn({3, 4});
  auto item = trained("w", start.clone());
  AdamW optimizer({item}, {.weight_decay = 0.01});
  set_grad(item, first);
  optimizer.step(1e-3);
  optimizer.save(file.path);
  auto resumed = trained("w", item.tensor.detach().clone());
  AdamW other({resumed}, {.weight_decay = 0.01});
  other.load(file.path);
  for (auto* pair : {&item, &resumed}) set_grad(*pair, second);
  optimizer.step(1e-3);
  other.step(1e-3);
  EXPECT_TRUE(at::equal(item.tensor, resumed.tensor));
  EXPECT_FALSE(at::equal(item.tensor, start));
}

TEST(AdamW, AFileOfOtherTensorsIsRefusedByName) {
  const TemporaryFile file;
  AdamW({trained("w", at::zeros({2, 2}))}, {}).save(file.path);
  const auto message = [&](std::vector<AdapterTensor> tensors) -> std::string {
    try {
      AdamW(std::move(tensors), {}).load(file.path);
    } catch (const support::UserError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(message({trained("v", at::zeros({2, 2}))}).find("v.exp_avg"), std::string::npos);
  EXPECT_NE(message({trained("w", at::zeros({2, 3}))}).find("[2, 2]"), std::string::npos);
  EXPECT_NE(message({}).find("1 trained tensors"), std::string::npos);
  EXPECT_EQ(message({trained("w", at::zeros({2, 2}))}), "no error");
}

}  // namespace
}  // namespace graft::adapt
