// SPDX-License-Identifier: Apache-2.0
// Where autocast holds and where it does not. What it does to gradients is tested in tests/adapt/mixed_precision_test.cpp.
#include "model/autocast.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include <thread>

#include "model/attention.h"
#include "model/packed_input.h"
#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_model.h"

namespace graft::model {
namespace {

using tests::open_tiny_model;
using tests::tiny_prompt;
using tests::TinyPrompt;

constexpr auto kCpu = c10::kCPU;

std::optional<c10::ScalarType> here() {
  return autocast_dtype(kCpu);
}

TEST(AutocastScope, HoldsForItsScopeAndItsThread) {
  const at::Tensor x = at::randn({3, 4}), w = at::randn({5, 4});
  ASSERT_EQ(here(), std::nullopt);
  {
    const AutocastScope on(kCpu, at::kBFloat16);
    EXPECT_EQ(at::linear(x, w).scalar_type(), at::kBFloat16);
    {
      const AutocastScope off(kCpu, std::nullopt);
      EXPECT_EQ(at::linear(x, w).scalar_type(), at::kFloat);
      const AutocastScope again(kCpu, at::kBFloat16);
      EXPECT_EQ(here(), at::kBFloat16);
    }
    EXPECT_EQ(here(), at::kBFloat16);
    std::thread([&] { EXPECT_EQ(at::linear(x, w).scalar_type(), at::kFloat); }).join();
  }
  EXPECT_EQ(here(), std::nullopt);
  EXPECT_EQ(at::linear(x, w).scalar_type(), at::kFloat);
}

TEST(AutocastScope, LeavesAlsoByAnException) {
  EXPECT_THROW(
      {
        const AutocastScope on(kCpu, at::kBFloat16);
        throw std::runtime_error("no luck");
      },
      std::runtime_error);
  EXPECT_EQ(here(), std::nullopt);
}

// A cached cast would be stale after a change in place; in some versions of LibTorch it would have no graph either.
TEST(AutocastScope, CastsAreNeverOldOnes) {
  const at::Tensor x = at::randn({3, 4}), w = at::randn({5, 4}).requires_grad_();
  const AutocastScope on(kCpu, at::kBFloat16);
  at::Tensor former;
  {
    const c10::AutoGradMode off(false);
    former = at::linear(x, w);
    w.mul_(2);
    EXPECT_TRUE(at::equal(at::linear(x, w), former.mul(2)));
  }
  const at::Tensor y = at::linear(x, w);
  EXPECT_TRUE(at::equal(y, former.mul(2)));
  ASSERT_TRUE(y.requires_grad());
  {
    const AutocastScope outside(kCpu, std::nullopt);
    y.sum().backward();
  }
  ASSERT_TRUE(w.grad().defined());
  EXPECT_EQ(w.grad().scalar_type(), at::kFloat);
}

// A program around graft may use autocast, with its cache, for its own models.
TEST(AutocastScope, LeavesTheSurroundingCacheAsItWas) {
  const at::Tensor x = at::randn({3, 4}), w = at::randn({5, 4}).requires_grad_();
  at::autocast::set_autocast_dtype(kCpu, at::kBFloat16);
  at::autocast::set_autocast_enabled(kCpu, true);
  const auto cast = [&] { return at::autocast::cached_cast(at::kBFloat16, w, kCpu); };
  const at::Tensor theirs = cast();
  {
    const AutocastScope ours(kCpu, at::kBFloat16);
    EXPECT_FALSE(at::autocast::is_autocast_cache_enabled());
    EXPECT_FALSE(cast().is_same(theirs));
  }
  EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
  EXPECT_TRUE(cast().is_same(theirs));
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(kCpu, false);
}

// Notes what the attention of a pass is given, and under which precision.
class Witness : public SequenceAttention {
 public:
  explicit Witness(std::shared_ptr<SequenceAttention> inner) : inner_(std::move(inner)) {}
  at::Tensor attend(std::int32_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    double scale) override {
    operands = {q.scalar_type(), k.scalar_type(), v.scalar_type()};
    autocast = here();
    return inner_->attend(layer, q, k, v, scale);
  }
  std::vector<c10::ScalarType> operands;
  std::optional<c10::ScalarType> autocast;

 private:
  std::shared_ptr<SequenceAttention> inner_;
};

struct Decoded {
  at::Tensor hidden, logits;
  std::shared_ptr<Witness> attention;
};

Decoded decode(const Model& model, const TinyPrompt& prompt) {
  const std::vector<PackedSequences> groups = {{&prompt.prompt, prompt.image_values, {}}};
  Decoded out;
  out.attention = std::make_shared<Witness>(packed_attention(packed_groups(groups)));
  out.hidden = model.decode(pack_input(groups, model.position_rank()), out.attention, {});
  out.logits = model.head(out.hidden, {});
  return out;
}

TEST(ModelPrecision, AutocastReachesPluginsAttentionAndHead) {
  const auto model = open_tiny_model("float32", "bfloat16");
  EXPECT_EQ(model->dtype(), at::kFloat);
  EXPECT_EQ(model->compute_dtype(), at::kBFloat16);
  for (const Param& param : model->params()) EXPECT_EQ(param.tensor.scalar_type(), at::kFloat) << param.name;
  const TinyPrompt prompt = tiny_prompt(*model, "Where is the red square?", "image");
  EXPECT_EQ(prompt.image_values.scalar_type(),
            at::kBFloat16);  // the vision encoder's last layer is a product
  const Decoded found = decode(*model, prompt);
  EXPECT_EQ(found.hidden.scalar_type(), at::kFloat);  // the residual stream starts at float32 embeddings
  EXPECT_EQ(found.logits.scalar_type(), at::kBFloat16);
  EXPECT_EQ(found.attention->operands,
            std::vector<c10::ScalarType>(3, at::kBFloat16));  // and so is a KV cache
  EXPECT_EQ(found.attention->autocast, std::nullopt);
  EXPECT_EQ(here(), std::nullopt);
}

TEST(ModelPrecision, BothStoragesAreCloseToFloat32AndNotEqual) {
  const auto exact = open_tiny_model("float32", "");
  EXPECT_EQ(exact->compute_dtype(), at::kFloat);
  const auto logits_of = [](const Model& model) {
    return decode(model, tiny_prompt(model, "Where is the red square?", "image")).logits.to(at::kFloat);
  };
  const at::Tensor expected = logits_of(*exact);
  const double largest = expected.abs().max().item<double>();
  for (const char* dtype : {"float32", "bfloat16"}) {
    const double error =
        (logits_of(*open_tiny_model(dtype, "bfloat16")) - expected).abs().max().item<double>() / largest;
    EXPECT_LT(error, 0.02) << dtype;
    EXPECT_GT(error, 1e-4) << dtype;
  }
  EXPECT_TRUE(at::equal(logits_of(*open_tiny_model("float32", "float32")), expected));  // the same as null
}

// A product with a backward of its own, which says under which precision both ran.
struct Product : torch::autograd::Function<Product> {
  static inline std::optional<c10::ScalarType> forward_precision, backward_precision;
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& w) {
    forward_precision = here();
    context->save_for_backward({x, w});
    return at::linear(x, w);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    backward_precision = here();
    const auto saved = context->get_saved_variables();
    return {at::matmul(grads[0].to(saved[1].scalar_type()), saved[1]), at::Tensor()};
  }
};

// Replaces one linear layer by Product.
class ProductHook : public LinearHook {
 public:
  explicit ProductHook(std::uint32_t site) : site_(site) {}
  bool covers(std::uint32_t site) const override { return site == site_; }
  at::Tensor linear(std::uint32_t, const at::Tensor& x, const BaseLayer& base, const PassOptions&) override {
    return Product::apply(x.detach().requires_grad_(), base.weight());
  }
  std::vector<at::Tensor> trained_tensors(std::uint32_t) const override { return {}; }

 private:
  std::uint32_t site_;
};

TEST(ModelPrecision, BackwardOfACustomFunctionRunsOutsideOfAutocast) {
  const auto model = open_tiny_model("float32", "bfloat16");
  model->set_linear_hook(std::make_shared<ProductHook>(model->head_site()));
  const Decoded found = decode(*model, tiny_prompt(*model, "Say something.", ""));
  EXPECT_EQ(Product::forward_precision, at::kBFloat16);
  Product::backward_precision = at::kBFloat16;
  found.logits.to(at::kFloat).sum().backward();
  EXPECT_EQ(Product::backward_precision, std::nullopt);
}

TEST(ModelPrecision, RefusesOnesThatMakeNoSense) {
  const auto refusal = [](const char* dtype, const char* compute) {
    return test::message_of<support::UserError>([&] { (void)open_tiny_model(dtype, compute); });
  };
  EXPECT_TRUE(test::contains(refusal("bfloat16", "float32"), "model.compute_dtype=float32 has no effect"));
  EXPECT_TRUE(test::contains(refusal("float32", "float16"), "model.compute_dtype=float16"));
  EXPECT_TRUE(test::contains(refusal("float32", "bf16"), "unknown dtype \"bf16\""));
}

}  // namespace
}  // namespace graft::model
