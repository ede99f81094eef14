// SPDX-License-Identifier: Apache-2.0
#include "memory/recompute.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "support/error.h"

namespace graft::memory {
namespace {

using model::SegmentBody;
using model::TouchedTensors;
using Tensors = std::vector<at::Tensor>;

// A leaf that is trained, and whose use is noted as the model's exec does it.
at::Tensor trained(at::IntArrayRef sizes) {
  return at::randn(sizes).requires_grad_();
}
const at::Tensor& use(const at::Tensor& tensor) {
  TouchedTensors::note(tensor);
  return tensor;
}

std::shared_ptr<model::SegmentHook> keeping() {
  return recompute_hook({Decision::kKeep, Decision::kKeep});
}
std::shared_ptr<model::SegmentHook> recomputing() {
  return recompute_hook({Decision::kRecompute, Decision::kRecompute});
}

// Gradients of sum(tanh(loss(hook))) with respect to `leaves`.
Tensors gradients(const std::shared_ptr<model::SegmentHook>& hook, const Tensors& leaves,
                  const std::function<at::Tensor(model::SegmentHook&)>& loss) {
  at::manual_seed(7);
  return torch::autograd::grad({loss(*hook).tanh().sum()}, leaves);
}

void expect_equal_gradients(const Tensors& leaves,
                            const std::function<at::Tensor(model::SegmentHook&)>& loss) {
  const Tensors expected = gradients(keeping(), leaves, loss), found = gradients(recomputing(), leaves, loss);
  for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_TRUE(at::equal(found[i], expected[i])) << i;
}

TEST(Recompute, GivesTheGradientsOfPlainAutogradBitForBit) {
  const at::Tensor x = trained({5, 4}), w1 = trained({8, 4}), w2 = trained({3, 8});
  expect_equal_gradients({x, w1, w2}, [&](model::SegmentHook& hook) {
    const auto body = [&](const Tensors& in) {
      return Tensors{at::linear(at::linear(in[0], use(w1)).tanh(), use(w2))};
    };
    return hook.run(0, body, {x.mul(2)})[0];
  });
}

TEST(Recompute, ReachesTrainedTensorsThoughNoInputRequiresAGradient) {
  const at::Tensor embedding = at::randn({10, 4});  // frozen
  const at::Tensor ids = at::arange(5), a = trained({2, 4}), b = trained({4, 2});
  expect_equal_gradients({a, b}, [&](model::SegmentHook& hook) {
    const auto body = [&](const Tensors& in) {
      return Tensors{in[0].add(at::linear(at::linear(in[0], use(a)), use(b)))};
    };
    const at::Tensor hidden = hook.run(0, body, {at::embedding(embedding, ids)})[0];
    EXPECT_TRUE(hidden.requires_grad());
    return hook.run(1, body, {hidden})[0];
  });
}

TEST(Recompute, Nests) {
  const at::Tensor x = at::randn({5, 4}), w1 = trained({4, 4}), w2 = trained({4, 4}), w3 = trained({4, 4});
  expect_equal_gradients({w1, w2, w3}, [&](model::SegmentHook& hook) {
    const SegmentBody inner = [&](const Tensors& in) { return Tensors{at::linear(in[0], use(w2)).tanh()}; };
    const SegmentBody outer = [&, inner](const Tensors& in) {  // runs again after this scope is gone
      const at::Tensor h = at::linear(in[0], use(w1)).tanh();
      return Tensors{at::linear(hook.run(1, inner, {h})[0], use(w3)).add(h)};
    };
    return hook.run(0, outer, {x})[0];
  });
}

TEST(Recompute, ReplaysDropoutAndLeavesTheGeneratorWhereItWas) {
  const at::Tensor x = at::randn({50, 8}), w = trained({8, 8});
  expect_equal_gradients({w}, [&](model::SegmentHook& hook) {
    at::Tensor h = x;
    for (int layer = 0; layer < 3; ++layer) {
      const auto body = [&](const Tensors& in) {
        return Tensors{at::dropout(at::linear(in[0], use(w)), 0.5, /*train=*/true)};
      };
      h = hook.run(0, body, {h})[0];
    }
    return h;
  });
  at::manual_seed(3);
  const auto body = [&](const Tensors& in) {
    return Tensors{at::dropout(at::linear(in[0], use(w)), 0.5, true)};
  };
  const at::Tensor loss = recomputing()->run(0, body, {x})[0].sum();
  const at::Tensor before = at::globalContext().defaultGenerator(c10::Device(c10::kCPU)).get_state();
  loss.backward();
  EXPECT_TRUE(at::equal(at::globalContext().defaultGenerator(c10::Device(c10::kCPU)).get_state(), before));
}

TEST(Recompute, TakesSeveralInputsAndOutputsOfAnyKind) {
  const at::Tensor x = trained({6, 4}), frozen = at::randn({6, 4}), w = trained({4, 4}), ids = at::arange(6);
  expect_equal_gradients({x, w}, [&](model::SegmentHook& hook) {
    const auto body = [&](const Tensors& in) {
      EXPECT_FALSE(in[3].defined());
      const at::Tensor y = at::linear(in[0].index_select(0, in[2]).add(in[1]), use(w));
      return Tensors{y, in[2].add(1), y.mul(in[0]), in[1], at::Tensor()};
    };
    const Tensors out = hook.run(0, body, {x, frozen, ids, at::Tensor()});
    EXPECT_EQ(out.size(), 5U);
    EXPECT_EQ(out[1].scalar_type(), at::kLong);
    EXPECT_FALSE(out[4].defined());
    return out[0].add(out[2]).add(out[3]);
  });
}

TEST(Recompute, AnOutputThatIsNotUsedHasNoShareInTheGradient) {
  const at::Tensor x = trained({3, 4}), w = trained({4, 4}), v = trained({4, 4});
  for (const auto& hook : {keeping(), recomputing()}) {
    const auto body = [&](const Tensors& in) {
      return Tensors{at::linear(in[0], use(w)), at::linear(in[0], use(v))};
    };
    const Tensors out = hook->run(0, body, {x});
    const Tensors found =
        torch::autograd::grad({out[0].sum()}, {x, w, v}, {}, false, false, /*allow_unused=*/true);
    EXPECT_TRUE(found[0].defined() && found[1].defined());
    EXPECT_FALSE(found[2].defined());
  }
}

TEST(Recompute, ABodyMayGiveBackItsInput) {
  const at::Tensor x = trained({3}), w = trained({3});
  expect_equal_gradients({x, w}, [&](model::SegmentHook& hook) {
    const auto body = [&](const Tensors& in) { return Tensors{in[0], in[0].mul(use(w))}; };
    const Tensors out = hook.run(0, body, {x});
    return out[0].mul(out[1]);
  });
  EXPECT_TRUE(x.is_leaf());
}

TEST(Recompute, RunsTheBodyOnceWithoutAutogradAndTwiceWithIt) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  std::atomic<int> runs = 0;
  const auto body = [&](const Tensors& in) {
    ++runs;
    return Tensors{at::linear(in[0], use(w))};
  };
  {
    const c10::AutoGradMode off(false);
    EXPECT_FALSE(recomputing()->run(0, body, {x})[0].requires_grad());
    EXPECT_EQ(runs, 1);
  }
  const at::Tensor y = recomputing()->run(0, body, {x})[0];
  EXPECT_EQ(runs, 2);
  y.sum().backward();
  EXPECT_EQ(runs, 3);
  const at::Tensor frozen =
      recomputing()->run(0, [](const Tensors& in) { return Tensors{in[0].mul(2)}; }, {x})[0];
  EXPECT_FALSE(frozen.requires_grad());
}

TEST(Recompute, BackwardMayRunOnAnotherThread) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  const auto body = [&](const Tensors& in) { return Tensors{at::linear(in[0], use(w)).tanh()}; };
  const at::Tensor loss = recomputing()->run(0, body, {recomputing()->run(0, body, {x})[0]})[0].sum();
  std::thread([&] {
    const c10::AutoGradMode off(false);  // backward sets the grad mode that it needs
    loss.backward();
    EXPECT_FALSE(c10::GradMode::is_enabled());
  }).join();
  const at::Tensor expected =
      torch::autograd::grad({keeping()->run(0, body, {keeping()->run(0, body, {x})[0]})[0].sum()}, {w})[0];
  EXPECT_TRUE(at::equal(w.grad(), expected));
}

TEST(Recompute, AccumulatesOverTwoBackwardsOfARetainedGraph) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  const auto body = [&](const Tensors& in) { return Tensors{at::linear(in[0], use(w))}; };
  const at::Tensor loss = recomputing()->run(0, body, {x})[0].sum();
  loss.backward({}, /*retain_graph=*/true);
  const at::Tensor once = w.grad().clone();
  loss.backward();
  EXPECT_TRUE(at::equal(w.grad(), once.mul(2)));
  EXPECT_ANY_THROW(loss.backward());  // the graph is gone
}

TEST(Recompute, NoticesATrainedTensorChangedBeforeBackward) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  const auto body = [&](const Tensors& in) { return Tensors{at::linear(in[0], use(w))}; };
  const at::Tensor loss = recomputing()->run(0, body, {x})[0].sum();
  {
    const c10::AutoGradMode off(false);
    w.add_(1);
  }
  EXPECT_ANY_THROW(loss.backward());
}

TEST(Recompute, AnExceptionOfTheBodyComesOutOfBackwardAsItIs) {
  struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  bool fails = false;
  const auto body = [&](const Tensors& in) {
    if (fails) throw Failure("no luck");
    return Tensors{at::linear(in[0], use(w))};
  };
  const at::Tensor loss = recomputing()->run(0, body, {x})[0].sum();
  fails = true;
  EXPECT_THROW(loss.backward(), Failure);
}

TEST(Recompute, HasASecondDerivative) {
  const at::Tensor x = trained({3});
  const auto body = [](const Tensors& in) { return Tensors{in[0].mul(in[0]).mul(in[0])}; };
  const at::Tensor loss = recomputing()->run(0, body, {x})[0].sum();
  const at::Tensor slope = torch::autograd::grad({loss}, {x}, {}, true, /*create_graph=*/true)[0];
  EXPECT_TRUE(at::allclose(torch::autograd::grad({slope.sum()}, {x})[0], x.mul(6)));
}

TEST(Recompute, StopsOnceEverythingIsThere) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  int ends = 0;
  const auto body = [&](const Tensors& in) {
    const at::Tensor y = at::linear(in[0], use(w)).tanh();
    const at::Tensor z = y.mul(2);  // saves nothing
    ++ends;
    return Tensors{z.add(in[0])};
  };
  recomputing()->run(0, body, {x})[0].sum().backward();
  EXPECT_EQ(ends, 1);
}

// The stop comes out of an operator, which a plugin reports as an error of its own.
TEST(Recompute, StopsThoughThePluginRetellsTheError) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  const auto body = [&](const Tensors& in) {
    try {
      return Tensors{at::linear(in[0], use(w)).tanh().mul(2)};
    } catch (const std::exception& e) {
      throw std::runtime_error(std::string("plugin: ") + e.what());
    }
  };
  recomputing()->run(0, body, {x})[0].sum().backward();
  EXPECT_TRUE(w.grad().defined());
}

TEST(Recompute, AnOuterSegmentStopsBeforeWhatAnInnerOneRecomputes) {
  const at::Tensor x = at::randn({3, 4}), w1 = trained({4, 4}), w2 = trained({4, 4});
  int first = 0, second = 0;
  const auto part = [&](const at::Tensor& w, int& runs) {
    return [&](const Tensors& in) {
      ++runs;
      return Tensors{at::linear(in[0], use(w)).tanh()};
    };
  };
  const auto hook = recomputing();
  const SegmentBody outer = [&](const Tensors& in) {
    return hook->run(1, part(w2, second), hook->run(1, part(w1, first), in));
  };
  hook->run(0, outer, {x})[0].sum().backward();
  EXPECT_EQ(second, 2);  // forward, and its own recomputation: the outer one needs its input alone
  EXPECT_EQ(first, 3);
}

TEST(Recompute, DropsWhatBackwardNoLongerWants) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  const auto body = [&](const Tensors& in) { return Tensors{at::linear(in[0], use(w)).tanh()}; };
  std::weak_ptr<int> alive;
  {
    const auto token = std::make_shared<int>(0);
    alive = token;
    const auto held = [token, body](const Tensors& in) { return body(in); };
    const at::Tensor loss = recomputing()->run(0, held, {x})[0].sum();
    loss.backward();
  }
  EXPECT_TRUE(alive.expired());  // the graph is released, and with it the body and its inputs
}

TEST(Recompute, ABodyThatComputesSomethingElseTheSecondTimeIsAnError) {
  const at::Tensor x = at::randn({3, 4}), w = trained({4, 4});
  int runs = 0;
  const auto body = [&](const Tensors& in) {
    const at::Tensor y = at::linear(in[0], use(w));
    return Tensors{++runs > 1 ? y : y.tanh().exp()};
  };
  const at::Tensor loss = recomputing()->run(0, body, {x})[0].sum();
  try {
    loss.backward();
    FAIL();
  } catch (const support::PluginError& e) {
    EXPECT_NE(std::string(e.what()).find("must compute the same each time"), std::string::npos) << e.what();
  }
}

TEST(TouchedTensors, ReportToOuterScopesInOrderAndOnce) {
  const at::Tensor a = trained({1}), b = trained({1}), frozen = at::randn({1});
  const TouchedTensors outer;
  use(a);
  {
    const TouchedTensors inner;
    use(b);
    use(a);
    use(frozen);
    use(b);
    ASSERT_EQ(inner.tensors().size(), 2U);
    EXPECT_TRUE(inner.tensors()[0].is_same(b));
  }
  ASSERT_EQ(outer.tensors().size(), 2U);
  EXPECT_TRUE(outer.tensors()[0].is_same(a));
  std::thread([&] { use(trained({1})); }).join();
  EXPECT_EQ(outer.tensors().size(), 2U);
}

}  // namespace
}  // namespace graft::memory
