// SPDX-License-Identifier: Apache-2.0
#include "memory/offload.h"

#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "memory/recompute.h"

namespace graft::memory {
namespace {

using model::SegmentBody;
using Tensors = std::vector<at::Tensor>;

at::Tensor trained(at::IntArrayRef sizes) {
  return at::randn(sizes).requires_grad_();
}
const at::Tensor& use(const at::Tensor& tensor) {
  model::TouchedTensors::note(tensor);
  return tensor;
}

TEST(OffloadFile, GivesATensorBackAsItWas) {
  const auto file = std::make_shared<OffloadFile>();
  const at::Tensor x = at::randn({64, 32});
  for (const at::Tensor& tensor : {x, x.t(), x.narrow(1, 0, 24), x.narrow(0, 5, 40), x.to(at::kBFloat16)}) {
    const at::Tensor back = file->store(tensor).load();
    EXPECT_TRUE(at::equal(back, tensor));
    EXPECT_EQ(back.strides(), tensor.strides());
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type());
    EXPECT_FALSE(back.is_alias_of(tensor));
  }
  const at::Tensor column = x.narrow(1, 3, 2);  // of memory that it hardly covers: a copy of its own
  EXPECT_TRUE(at::equal(file->store(column).load(), column));
  EXPECT_EQ(file->bytes(), 0);
}

TEST(OffloadFile, TakesTensorsWithoutValues) {
  const auto file = std::make_shared<OffloadFile>();
  const at::Tensor x = at::empty({64, 32}, at::TensorOptions().device(at::kMeta)).t();
  ASSERT_TRUE(OffloadFile::takes(x));
  const at::Tensor back = file->store(x).load();
  EXPECT_TRUE(back.is_meta());
  EXPECT_EQ(back.sizes(), x.sizes());
  EXPECT_EQ(back.strides(), x.strides());
  EXPECT_EQ(file->bytes_written(), 0);
}

TEST(OffloadFile, WritesSharedMemoryOnce) {
  const auto file = std::make_shared<OffloadFile>();
  const at::Tensor x = at::randn({64, 32});
  const Offloaded one = file->store(x), other = file->store(x.view({32, 64}));
  EXPECT_EQ(file->bytes_written(), 64 * 32 * 4);
  const at::Tensor first = one.load();
  EXPECT_TRUE(first.is_alias_of(other.load()));
  x.add_(1);
  const Offloaded changed = file->store(x);
  EXPECT_EQ(file->bytes_written(), 2 * 64 * 32 * 4);
  EXPECT_TRUE(at::equal(changed.load(), x));
  EXPECT_TRUE(at::equal(one.load().add(1), x));
}

TEST(OffloadFile, UsesSpaceAgain) {
  const auto file = std::make_shared<OffloadFile>();
  const at::Tensor x = at::randn({64, 32});
  for (int i = 0; i < 10; ++i) {
    const at::Tensor a = x.clone(), b = x.clone();
    Offloaded first = file->store(a);
    const Offloaded second = file->store(b);
    first = Offloaded();
    const Offloaded third = file->store(x.narrow(0, 0, 40).clone());
    EXPECT_EQ(file->bytes(), (64 + 40) * 32 * 4);
    EXPECT_TRUE(at::equal(second.load(), x));
    EXPECT_TRUE(at::equal(third.load(), x.narrow(0, 0, 40)));
  }
  EXPECT_EQ(file->bytes(), 0);
}

// Gradients under both decisions, of two layers with dropout.
void expect_equal_gradients(const std::vector<Decision>& decisions) {
  const at::Tensor x = at::randn({64, 32}), w1 = trained({32, 32}), w2 = trained({32, 32});
  const auto gradients = [&](const std::vector<Decision>& of) {
    const auto hook = recompute_hook(of);
    const SegmentBody inner = [&](const Tensors& in) {
      return Tensors{at::dropout(at::linear(in[0], use(w2)).tanh(), 0.5, true)};
    };
    const SegmentBody outer = [&](const Tensors& in) {
      return Tensors{hook->run(1, inner, {at::linear(in[0], use(w1)).tanh()})[0].mul(in[0])};
    };
    at::manual_seed(3);
    return torch::autograd::grad({hook->run(0, outer, {x})[0].sum()}, {w1, w2});
  };
  const Tensors expected = gradients({Decision::kKeep, Decision::kKeep}), found = gradients(decisions);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(found[i], expected[i])) << i;
}

TEST(Offload, GivesTheGradientsOfPlainAutogradInEveryNesting) {
  for (const Decision outer : {Decision::kKeep, Decision::kRecompute, Decision::kOffload}) {
    for (const Decision inner : {Decision::kKeep, Decision::kRecompute, Decision::kOffload}) {
      expect_equal_gradients({outer, inner});
    }
  }
}

TEST(Offload, LeavesWeightsAndSmallTensorsWhereTheyAre) {
  const auto file = std::make_shared<OffloadFile>();
  const auto handler = offload_handler(file);
  const at::Tensor x = at::randn({64, 32}), w = trained({64, 32}), small = trained({4});
  const SavedTensorScope scope(*handler);
  const model::TouchedTensors touched;
  at::Tensor y = at::linear(x, use(w));
  EXPECT_EQ(file->bytes(), 64 * 32 * 4);  // x
  const at::Tensor z = small.mul(small);
  EXPECT_EQ(file->bytes(), 64 * 32 * 4);
  y.reset();
  EXPECT_EQ(file->bytes(), 0);
}

TEST(Offload, NoticesAWeightChangedBeforeBackward) {
  const at::Tensor x = trained({64, 32}), w = trained({32, 32});
  const auto hook = recompute_hook({Decision::kOffload});
  const auto body = [&](const Tensors& in) { return Tensors{at::linear(in[0], use(w))}; };
  const at::Tensor loss = hook->run(0, body, {x})[0].sum();
  {
    const c10::AutoGradMode off(false);
    w.add_(1);
  }
  EXPECT_ANY_THROW(loss.backward());
}

}  // namespace
}  // namespace graft::memory
