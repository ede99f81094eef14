// SPDX-License-Identifier: Apache-2.0
// Packed, block and partial attention against one softmax over a dense mask, in values and in gradients.
#include "model/attention.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "model/partial_attention.h"
#include "support/error.h"

namespace graft::model {
namespace {

constexpr double kScale = 0.37;

struct Inputs {
  at::Tensor q, k, v, grad;
};

Inputs random_inputs(std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads, at::ScalarType dtype,
                     std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto options = at::TensorOptions(at::kDouble);
  const auto draw = [&](std::int64_t n) { return at::randn({tokens, n, 8}, generator, options).to(dtype); };
  return {draw(heads).requires_grad_(), draw(kv_heads).requires_grad_(), draw(kv_heads).requires_grad_(),
          draw(heads)};
}

// softmax(scale q kᵀ + mask) v over all tokens, mask [T, T].
at::Tensor dense_attention(const Inputs& in, const at::Tensor& mask) {
  const std::int64_t share = in.q.size(1) / in.k.size(1);
  const at::Tensor k = in.k.repeat_interleave(share, 1).transpose(0, 1);  // [H, T, d]
  const at::Tensor v = in.v.repeat_interleave(share, 1).transpose(0, 1);
  const at::Tensor scores = at::matmul(in.q.transpose(0, 1), k.transpose(1, 2)) * kScale + mask;
  return at::matmul(at::softmax(scores, -1), v).transpose(0, 1);
}

at::Tensor packed_mask(const std::vector<PackedGroup>& groups, at::ScalarType dtype) {
  std::int64_t tokens = 0;
  for (const auto& group : groups) {
    tokens += group.prompt_length;
    for (const auto length : group.completion_lengths) tokens += length;
  }
  at::Tensor mask = at::full({tokens, tokens}, -std::numeric_limits<double>::infinity(), at::kDouble);
  auto allowed = mask.accessor<double, 2>();
  std::int64_t begin = 0;
  for (const auto& group : groups) {
    const std::int64_t prompt = begin;
    for (std::int64_t i = 0; i < group.prompt_length; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) allowed[prompt + i][prompt + j] = 0.0;
    }
    begin += group.prompt_length;
    for (const auto length : group.completion_lengths) {
      for (std::int64_t i = 0; i < length; ++i) {
        for (std::int64_t j = 0; j < group.prompt_length; ++j) allowed[begin + i][prompt + j] = 0.0;
        for (std::int64_t j = 0; j <= i; ++j) allowed[begin + i][begin + j] = 0.0;
      }
      begin += length;
    }
  }
  return mask.to(dtype);
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

void expect_equal_with_gradients(const Inputs& in, const at::Tensor& actual, const at::Tensor& expected,
                                 double tolerance) {
  ASSERT_EQ(actual.sizes(), expected.sizes());
  EXPECT_LT(max_difference(actual.detach(), expected.detach()), tolerance);
  const auto gradients = torch::autograd::grad({actual}, {in.q, in.k, in.v}, {in.grad});
  const auto references = torch::autograd::grad({expected}, {in.q, in.k, in.v}, {in.grad});
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(max_difference(gradients[i], references[i]), tolerance) << "gradient " << i;
  }
}

void expect_packed_is_exact(const std::vector<PackedGroup>& groups, std::int64_t heads, std::int64_t kv_heads,
                            at::ScalarType dtype, double tolerance) {
  const at::Tensor mask = packed_mask(groups, dtype);
  const Inputs in = random_inputs(mask.size(0), heads, kv_heads, dtype, 7);
  expect_equal_with_gradients(in, packed_attention(groups)->attend(0, in.q, in.k, in.v, kScale),
                              dense_attention(in, mask), tolerance);
}

TEST(PackedAttention, EqualsADenseMaskInFloat64) {
  expect_packed_is_exact({{5, {3, 7, 2}}, {4, {6}}}, 4, 2, at::kDouble, 1e-12);
}

TEST(PackedAttention, EqualsADenseMaskInFloat32) {
  expect_packed_is_exact({{5, {3, 7, 2}}, {4, {6}}}, 4, 2, at::kFloat, 5e-6);
}

TEST(PackedAttention, BatchesCompletionsOfOneLength) {
  expect_packed_is_exact({{6, {5, 5, 5, 5}}, {6, {5, 5, 3, 3}}}, 6, 2, at::kDouble, 1e-12);
}

TEST(PackedAttention, TakesHeadsThatShareNothing) {
  expect_packed_is_exact({{3, {4, 4, 1}}}, 3, 3, at::kDouble, 1e-12);
}

TEST(PackedAttention, TakesOneKeyHeadForAllQueries) {
  expect_packed_is_exact({{3, {4, 4, 1}}}, 5, 1, at::kDouble, 1e-12);
}

TEST(PackedAttention, TakesEmptyCompletionsAndPromptsAlone) {
  expect_packed_is_exact({{4, {}}, {4, {}}, {1, {0, 2, 0}}, {7, {0}}, {2, {1, 1}}}, 4, 2, at::kDouble, 1e-12);
}

TEST(PackedAttention, TakesSequencesLongerThanTheBlocksOfTheFusedKernel) {
  expect_packed_is_exact({{600, {70, 300}}}, 2, 1, at::kDouble, 1e-11);
}

TEST(PackedAttention, GivesTheSameBitsTwice) {
  const Inputs in = random_inputs(5 + 9 + 9, 4, 2, at::kFloat, 3);
  const auto attention = packed_attention({{5, {9, 9}}});
  const auto run = [&] {
    const at::Tensor out = attention->attend(0, in.q, in.k, in.v, kScale);
    auto results = torch::autograd::grad({out}, {in.q, in.k, in.v}, {in.grad});
    results.push_back(out.detach());
    return results;
  };
  const auto first = run(), second = run();
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(first[i].equal(second[i]));
}

TEST(PackedAttention, TakesViewsOfAFusedProjection) {
  const Inputs in = random_inputs(9, 2, 2, at::kDouble, 11);
  const at::Tensor fused = at::stack({in.q, in.k, in.v}, 3);  // the last dimension is not dense
  const std::vector<PackedGroup> groups = {{4, {2, 3}}};
  const at::Tensor out =
      packed_attention(groups)->attend(0, fused.select(3, 0), fused.select(3, 1), fused.select(3, 2), kScale);
  expect_equal_with_gradients(in, out, dense_attention(in, packed_mask(groups, at::kDouble)), 1e-12);
}

TEST(PackedAttention, FollowsFloat32WithinTheRoundingOfBfloat16) {
  const std::vector<PackedGroup> groups = {{20, {9, 14}}};
  const at::NoGradGuard no_grad;
  const Inputs in = random_inputs(43, 4, 2, at::kBFloat16, 5);
  const Inputs wide = {in.q.to(at::kFloat), in.k.to(at::kFloat), in.v.to(at::kFloat), {}};
  const at::Tensor out = packed_attention(groups)->attend(0, in.q, in.k, in.v, kScale);
  ASSERT_EQ(out.scalar_type(), at::kBFloat16);
  EXPECT_LT(max_difference(out, dense_attention(wide, packed_mask(groups, at::kFloat))), 0.03);
}

TEST(PackedAttention, KeepsNoGraphWithoutGradMode) {
  const Inputs in = random_inputs(6, 2, 1, at::kFloat, 1);
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(packed_attention({{4, {2}}})->attend(0, in.q, in.k, in.v, kScale).requires_grad());
}

TEST(PackedAttention, RefusesOtherNumbersOfTokens) {
  const Inputs in = random_inputs(7, 2, 1, at::kFloat, 1);
  EXPECT_THROW((void)packed_attention({{4, {2}}})->attend(0, in.q, in.k, in.v, kScale), support::PluginError);
}

void expect_blocks_are_exact(const std::vector<std::int64_t>& ends, std::int64_t heads,
                             std::int64_t kv_heads) {
  const std::int64_t tokens = ends.back();
  at::Tensor mask = at::full({tokens, tokens}, -std::numeric_limits<double>::infinity(), at::kDouble);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    mask.narrow(0, begin, end - begin).narrow(1, begin, end - begin).zero_();
    begin = end;
  }
  const Inputs in = random_inputs(tokens, heads, kv_heads, at::kDouble, 13);
  expect_equal_with_gradients(in, block_attention(in.q, in.k, in.v, kScale, ends), dense_attention(in, mask),
                              1e-12);
}

TEST(BlockAttention, AttendsInBothDirectionsWithinOneBlock) {
  expect_blocks_are_exact({9}, 2, 2);
}

TEST(BlockAttention, TakesWindowsOfOneLength) {
  expect_blocks_are_exact({4, 8, 12, 16}, 2, 2);
}

TEST(BlockAttention, TakesMixedLengthsAndEmptyBlocks) {
  expect_blocks_are_exact({4, 8, 8, 10, 14, 18, 19}, 4, 2);
}

TEST(BlockAttention, RefusesEndsThatDoNotCoverTheTokens) {
  const Inputs in = random_inputs(7, 2, 2, at::kFloat, 1);
  EXPECT_THROW((void)block_attention(in.q, in.k, in.v, kScale, {3, 6}), support::PluginError);
  EXPECT_THROW((void)block_attention(in.q, in.k, in.v, kScale, {5, 3, 7}), support::PluginError);
}

TEST(PartialAttention, PlainOperatorsAgreeWithTheFusedKernel) {
  const Inputs in = random_inputs(12, 2, 2, at::kDouble, 17);
  const auto heads = [](const at::Tensor& x) { return x.detach().transpose(0, 1).unsqueeze(0); };
  const at::Tensor q = heads(in.q), k = heads(in.k), v = heads(in.v), grad = heads(in.grad);
  for (const bool causal : {false, true}) {
    const auto fused = partial_attention(q, k, v, kScale, causal);
    const auto plain = plain_partial_attention(q, k, v, kScale, causal);
    EXPECT_LT(max_difference(fused.out, plain.out), 1e-12);
    EXPECT_LT(max_difference(fused.lse, plain.lse), 1e-12);
    const auto [fused_q, fused_k, fused_v] =
        partial_attention_backward(grad, q, k, v, fused.out, fused.lse, kScale, causal);
    const auto [plain_q, plain_k, plain_v] =
        plain_partial_attention_backward(grad, q, k, v, plain.out, plain.lse, kScale, causal);
    EXPECT_LT(max_difference(fused_q, plain_q), 1e-12);
    EXPECT_LT(max_difference(fused_k, plain_k), 1e-12);
    EXPECT_LT(max_difference(fused_v, plain_v), 1e-12);
  }
}

}  // namespace
}  // namespace graft::model
