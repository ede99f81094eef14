// SPDX-License-Identifier: Apache-2.0
#include "objective/chunked_logprobs.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "model/hooks.h"

namespace graft::objective {
namespace {

constexpr std::int64_t kRows = 11, kWidth = 6, kVocab = 19;

struct Problem {
  at::Tensor hidden, weight, bias, ids, grad;

  explicit Problem(at::ScalarType dtype, bool trains_head = true) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
    const auto draw = [&](at::IntArrayRef sizes) {
      return at::randn(sizes, generator, at::TensorOptions(at::kDouble)).to(dtype);
    };
    hidden = draw({kRows, kWidth}).requires_grad_();
    weight = draw({kVocab, kWidth}).requires_grad_(trains_head);
    bias = draw({kVocab}).requires_grad_(trains_head);
    grad = draw({kRows});
    ids = at::randint(0, kVocab, {kRows}, generator, at::TensorOptions(at::kLong));
  }

  [[nodiscard]] Head head() const {
    return [w = weight, b = bias](const at::Tensor& rows) {
      model::TouchedTensors::note(w);
      model::TouchedTensors::note(b);
      return at::linear(rows, w, b);
    };
  }

  // The same by one dense log_softmax.
  [[nodiscard]] at::Tensor dense(double temperature, const std::vector<std::int64_t>& banned = {}) const {
    at::Tensor logits = at::linear(hidden, weight, bias) / temperature;
    for (const std::int64_t id : banned) {
      logits =
          logits.index_fill(1, at::scalar_tensor(id, at::kLong), -std::numeric_limits<double>::infinity());
    }
    return at::log_softmax(logits, 1).gather(1, ids.unsqueeze(1)).squeeze(1);
  }
};

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(ChunkedLogprobs, EqualADenseLogSoftmaxWithGradients) {
  const Problem problem(at::kDouble);
  for (const std::int64_t chunk : {1, 4, 11, 100}) {
    for (const double temperature : {1.0, 0.7}) {
      ChunkedOptions options;
      options.temperature = temperature;
      options.chunk_rows = chunk;
      const at::Tensor actual =
          chunked_logprobs(problem.hidden, problem.ids, problem.head(), options).logprobs;
      const at::Tensor expected = problem.dense(temperature);
      EXPECT_LT(max_difference(actual, expected), 1e-12);
      const std::vector<at::Tensor> inputs = {problem.hidden, problem.weight, problem.bias};
      const auto gradients = torch::autograd::grad({actual}, inputs, {problem.grad});
      const auto references = torch::autograd::grad({expected}, inputs, {problem.grad});
      for (std::size_t i = 0; i < inputs.size(); ++i)
        EXPECT_LT(max_difference(gradients[i], references[i]), 1e-12) << i;
    }
  }
}

TEST(ChunkedLogprobs, NeedNoTrainedHead) {
  const Problem problem(at::kFloat, /*trains_head=*/false);
  ChunkedOptions options;
  options.chunk_rows = 3;
  const at::Tensor actual = chunked_logprobs(problem.hidden, problem.ids, problem.head(), options).logprobs;
  const auto gradient = torch::autograd::grad({actual}, {problem.hidden}, {problem.grad})[0];
  const auto reference = torch::autograd::grad({problem.dense(1.0)}, {problem.hidden}, {problem.grad})[0];
  EXPECT_LT(max_difference(gradient, reference), 1e-5);
}

TEST(ChunkedLogprobs, TrainTheHeadOnFrozenHiddenStates) {
  const Problem problem(at::kDouble);
  ChunkedOptions options;
  options.chunk_rows = 3;
  const at::Tensor actual =
      chunked_logprobs(problem.hidden.detach(), problem.ids, problem.head(), options).logprobs;
  const auto gradient = torch::autograd::grad({actual}, {problem.weight}, {problem.grad})[0];
  const auto reference = torch::autograd::grad({problem.dense(1.0)}, {problem.weight}, {problem.grad})[0];
  EXPECT_LT(max_difference(gradient, reference), 1e-12);
}

TEST(ChunkedLogprobs, LeaveBannedTokensOut) {
  Problem problem(at::kDouble);
  const std::vector<std::int64_t> banned = {2, 17};
  for (const std::int64_t id : banned) problem.ids.masked_fill_(problem.ids == id, 5);
  ChunkedOptions options;
  options.banned_ids = banned;
  options.with_entropy = true;
  options.chunk_rows = 4;
  const auto actual = chunked_logprobs(problem.hidden, problem.ids, problem.head(), options);
  const at::Tensor expected = problem.dense(1.0, banned);
  EXPECT_LT(max_difference(actual.logprobs, expected), 1e-12);
  EXPECT_TRUE(actual.entropy.isfinite().all().item<bool>());
  const auto gradient = torch::autograd::grad({actual.logprobs}, {problem.weight}, {problem.grad})[0];
  const auto reference = torch::autograd::grad({expected}, {problem.weight}, {problem.grad})[0];
  EXPECT_LT(max_difference(gradient, reference), 1e-12);
}

TEST(ChunkedLogprobs, GiveTheEntropyOfTheTemperedDistribution) {
  const Problem problem(at::kDouble);
  ChunkedOptions options;
  options.temperature = 1.3;
  options.with_entropy = true;
  options.chunk_rows = 4;
  const auto actual = chunked_logprobs(problem.hidden, problem.ids, problem.head(), options);
  const at::Tensor log_p = at::log_softmax(at::linear(problem.hidden, problem.weight, problem.bias) / 1.3, 1);
  EXPECT_LT(max_difference(actual.entropy, -(log_p.exp() * log_p).sum(1)), 1e-12);
  EXPECT_FALSE(actual.entropy.requires_grad());
}

TEST(ChunkedLogprobs, TellWhereTheIdIsTheModelsFirstChoice) {
  Problem problem(at::kFloat);
  const at::Tensor best = at::linear(problem.hidden, problem.weight, problem.bias).argmax(1);
  problem.ids = at::cat({best.narrow(0, 0, 5), best.narrow(0, 5, 6).add(1).remainder(kVocab)});
  ChunkedOptions options;
  options.chunk_rows = 4;
  options.with_correct = true;
  const at::Tensor correct = chunked_logprobs(problem.hidden, problem.ids, problem.head(), options).correct;
  EXPECT_EQ(correct.scalar_type(), at::kBool);
  for (std::int64_t i = 0; i < kRows; ++i) EXPECT_EQ(correct[i].item<bool>(), i < 5) << i;
}

TEST(ChunkedLogprobs, DrawTheSameRandomNumbersInBackward) {
  const Problem problem(at::kDouble);
  const Head head = [&](const at::Tensor& rows) {
    model::TouchedTensors::note(problem.weight);
    return at::linear(at::dropout(rows, 0.5, true), problem.weight);
  };
  ChunkedOptions options;
  options.has_random_head = true;
  options.chunk_rows = 4;
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(5);
  const at::Tensor actual = chunked_logprobs(problem.hidden, problem.ids, head, options).logprobs;
  const at::Tensor next = at::randn({3});
  const auto gradient = torch::autograd::grad({actual}, {problem.hidden, problem.weight}, {problem.grad});
  const at::Tensor after = at::randn({3});

  generator.set_current_seed(5);
  std::vector<at::Tensor> chunks;
  for (const at::Tensor& rows : problem.hidden.split(4)) chunks.push_back(head(rows));
  const at::Tensor expected =
      at::log_softmax(at::cat(chunks), 1).gather(1, problem.ids.unsqueeze(1)).squeeze(1);
  const auto reference = torch::autograd::grad({expected}, {problem.hidden, problem.weight}, {problem.grad});
  EXPECT_LT(max_difference(actual, expected), 1e-12);
  EXPECT_LT(max_difference(gradient[0], reference[0]), 1e-12);
  EXPECT_LT(max_difference(gradient[1], reference[1]), 1e-12);
  EXPECT_TRUE(next.equal(at::randn({3})));  // backward leaves the stream where it was
  EXPECT_TRUE(after.equal(at::randn({3})));
}

TEST(ChunkedLogprobs, ComputeInFloat32ForBfloat16) {
  const Problem problem(at::kBFloat16);
  const auto actual = chunked_logprobs(problem.hidden, problem.ids, problem.head(), {});
  ASSERT_EQ(actual.logprobs.scalar_type(), at::kFloat);
  const at::Tensor logits = at::linear(problem.hidden, problem.weight, problem.bias).to(at::kFloat);
  const at::Tensor expected = at::log_softmax(logits, 1).gather(1, problem.ids.unsqueeze(1)).squeeze(1);
  EXPECT_LT(max_difference(actual.logprobs.detach(), expected.detach()), 1e-5);
  const auto gradient = torch::autograd::grad({actual.logprobs.sum()}, {problem.hidden})[0];
  EXPECT_EQ(gradient.scalar_type(), at::kBFloat16);
}

TEST(ChunkedLogprobs, KeepNoGraphWithoutGradMode) {
  const Problem problem(at::kFloat);
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(chunked_logprobs(problem.hidden, problem.ids, problem.head(), {}).logprobs.requires_grad());
}

TEST(ChunkedLogprobs, TakeNoRows) {
  const Problem problem(at::kFloat);
  const auto none =
      chunked_logprobs(problem.hidden.narrow(0, 0, 0), problem.ids.narrow(0, 0, 0), problem.head(), {});
  EXPECT_EQ(none.logprobs.size(0), 0);
}

}  // namespace
}  // namespace graft::objective
