// SPDX-License-Identifier: Apache-2.0
// Log-probabilities over Qwen2.5-VL's vocabulary: what they take, and that chunks change no gradient.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "memory/ledger.h"
#include "memory/meta_kernels.h"
#include "model/hooks.h"
#include "objective/chunked_logprobs.h"
#include "tests/memory/allocation_peak.h"

namespace graft::objective {
namespace {

constexpr std::int64_t kVocab = 152'064;

struct Problem {
  Problem(std::int64_t rows, std::int64_t width, at::ScalarType dtype, bool trains_head) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
    const auto draw = [&](at::IntArrayRef sizes) {
      return at::randn(sizes, generator, at::TensorOptions(at::kFloat)).to(dtype);
    };
    hidden = draw({rows, width}).requires_grad_();
    weight = draw({kVocab, width}).requires_grad_(trains_head);
    ids = at::randint(0, kVocab, {rows}, generator, at::TensorOptions(at::kLong));
    options.with_entropy = true;
    options.chunk_rows = chunk_rows_for(kVocab);
  }
  [[nodiscard]] ChunkedLogprobs chunked() const {
    const Head head = [w = weight](const at::Tensor& x) {
      model::TouchedTensors::note(w);
      return at::linear(x, w);
    };
    return chunked_logprobs(hidden, ids, head, options);
  }
  // Through logits of all rows, in `precision`.
  [[nodiscard]] at::Tensor naive(at::ScalarType precision) const {
    return at::log_softmax(at::linear(hidden, weight).to(precision), 1)
        .gather(1, ids.unsqueeze(1))
        .squeeze(1);
  }
  at::Tensor hidden, weight, ids;
  ChunkedOptions options;
};

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

TEST(HeadMemory, RowsOfAChunkFollowTheVocabulary) {
  EXPECT_EQ(chunk_rows_for(4'032), 256);
  EXPECT_EQ(chunk_rows_for(kVocab), 32);
  EXPECT_EQ(chunk_rows_for(100'000'000), 16);
}

// 16 completions of 512 tokens: logits as a whole would take 4.6 GiB. Counted on tensors without values, which takes no time.
TEST(HeadMemory, StaysBelow64MiBFor16CompletionsOf512Tokens) {
  memory::register_meta_kernels();
  memory::Ledger ledger;
  const auto on_meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  const at::Tensor hidden = at::empty({16 * 512, 80}, on_meta).requires_grad_(),
                   weight = at::empty({kVocab, 80}, on_meta);
  ChunkedOptions options;
  options.with_entropy = true;
  options.chunk_rows = chunk_rows_for(kVocab);
  const std::int64_t before = ledger.current();
  const Head head = [&](const at::Tensor& x) { return at::linear(x, weight); };
  chunked_logprobs(hidden, at::zeros({16 * 512}, at::TensorOptions(at::kLong).device(at::kMeta)), head,
                   options)
      .logprobs.mean()
      .backward();
  EXPECT_LE(ledger.peak() - before, 64 << 20);
  EXPECT_TRUE(hidden.grad().defined());
}

// The same for less of them, measured. The weight's gradient, 46 MiB, would break the bound.
TEST(HeadMemory, StaysBelow64MiBForAFrozenHead) {
  const Problem problem(100, 80, at::kFloat, /*trains_head=*/false);
  const tests::AllocationPeak memory;
  const ChunkedLogprobs scored = problem.chunked();
  EXPECT_LE(memory.current(), 1 << 20) << "kept for backward";
  scored.logprobs.mean().backward();
  EXPECT_LE(memory.peak(), 64 << 20) << (memory.peak() >> 20) << " MiB";
  EXPECT_GT(memory.peak(), 32 << 20) << "the counter sees the chunks";
  EXPECT_TRUE(problem.hidden.grad().defined());
  EXPECT_FALSE(problem.weight.grad().defined());
}

// Rows of two chunks and a bit.
TEST(HeadMemory, GradientsEqualTheNaiveComputation) {
  for (const bool trains_head : {false, true}) {
    const Problem problem(70, 32, at::kFloat, trains_head);
    const at::Tensor chunked = problem.chunked().logprobs, naive = problem.naive(at::kFloat);
    EXPECT_LT(relative_difference(chunked.detach(), naive.detach()), 1e-5);
    std::vector<at::Tensor> inputs = {problem.hidden};
    if (trains_head) inputs.push_back(problem.weight);
    const auto actual = torch::autograd::grad({chunked.mean()}, inputs);
    const auto expected = torch::autograd::grad({naive.mean()}, inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_LT(relative_difference(actual[i], expected[i]), 1e-5)
          << "input " << i << ", head " << trains_head;
    }
  }
}

// Logits of a bfloat16 head are rounded; sums over the vocabulary are not. In bfloat16 they would be wrong by some 1e-3.
TEST(HeadMemory, AccumulatesInFloat32UnderBfloat16) {
  const Problem problem(40, 32, at::kBFloat16, /*trains_head=*/false);
  const ChunkedLogprobs scored = problem.chunked();
  EXPECT_EQ(scored.logprobs.scalar_type(), at::kFloat);
  const at::Tensor exact = problem.naive(at::kDouble);
  EXPECT_LT(relative_difference(scored.logprobs.detach().to(at::kDouble), exact.detach()), 1e-6);
  const auto actual = torch::autograd::grad({scored.logprobs.sum()}, {problem.hidden});
  const auto expected = torch::autograd::grad({exact.sum()}, {problem.hidden});
  EXPECT_EQ(actual[0].scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_difference(actual[0].to(at::kFloat), expected[0].to(at::kFloat)), 1e-2);
}

}  // namespace
}  // namespace graft::objective
