// SPDX-License-Identifier: Apache-2.0
// Cached decoding against recomputing everything, on a small stack of attention layers.
#include "model/kv_cache.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "model/attention.h"
#include "support/error.h"

namespace graft::model {
namespace {

constexpr std::int64_t kLayers = 3, kHeads = 4, kKvHeads = 2, kHeadDim = 8, kWidth = kHeads * kHeadDim;
constexpr double kScale = 0.35;

// Residual attention layers on given embeddings: each layer's output depends on all that came before.
class Stack {
 public:
  explicit Stack(at::ScalarType dtype) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(42);
    const auto draw = [&](std::int64_t in, std::int64_t out) {
      return (at::randn({in, out}, generator, at::TensorOptions(at::kDouble)) * 0.2).to(dtype);
    };
    for (std::int64_t i = 0; i < kLayers; ++i) {
      q_.push_back(draw(kWidth, kWidth));
      k_.push_back(draw(kWidth, kKvHeads * kHeadDim));
      v_.push_back(draw(kWidth, kKvHeads * kHeadDim));
    }
  }

  at::Tensor run(at::Tensor x, SequenceAttention& attention) const {  // [T, width]
    for (std::size_t i = 0; i < q_.size(); ++i) {
      const auto heads = [&](const at::Tensor& weight) {
        return at::matmul(x, weight).unflatten(1, {-1, kHeadDim});
      };
      const at::Tensor out =
          attention.attend(static_cast<std::int32_t>(i), heads(q_[i]), heads(k_[i]), heads(v_[i]), kScale);
      x = x + at::tanh(out.flatten(1));
    }
    return x;
  }

 private:
  std::vector<at::Tensor> q_, k_, v_;
};

struct Case {
  std::vector<std::int64_t> prompt_lengths;
  std::int64_t rows_per_prompt;
  std::vector<std::int64_t> row_lengths;  // own tokens of each row; a row leaves after its last
};

void expect_cache_is_exact(const Case& test, at::ScalarType dtype, double tolerance) {
  const at::NoGradGuard no_grad;
  const Stack stack(dtype);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
  const auto embeddings = [&](std::int64_t n) {
    return at::randn({n, kWidth}, generator, at::TensorOptions(at::kDouble)).to(dtype);
  };

  // Everything at once.
  std::vector<PackedGroup> groups;
  std::vector<at::Tensor> prompts, rows, flat;
  for (std::size_t p = 0; p < test.prompt_lengths.size(); ++p) {
    groups.push_back({test.prompt_lengths[p], {}});
    prompts.push_back(embeddings(test.prompt_lengths[p]));
    flat.push_back(prompts.back());
    for (std::int64_t g = 0; g < test.rows_per_prompt; ++g) {
      const std::int64_t length = test.row_lengths[rows.size()];
      groups.back().completion_lengths.push_back(length);
      rows.push_back(embeddings(length));
      flat.push_back(rows.back());
    }
  }
  const at::Tensor expected = stack.run(at::cat(flat), *packed_attention(groups));

  // Prompts, then token by token.
  KvCache cache(kLayers, test.prompt_lengths);
  const at::Tensor prompt_out = stack.run(at::cat(prompts), *cache.prefill());
  std::int64_t longest = 0;
  for (const std::int64_t length : test.row_lengths) longest = std::max(longest, length);
  cache.start_rows(test.rows_per_prompt, longest);
  std::vector<std::vector<at::Tensor>> outs(rows.size());
  for (std::int64_t t = 0; t < longest; ++t) {
    std::vector<at::Tensor> tokens;
    const std::vector<std::int64_t> active = cache.active_rows();
    for (const std::int64_t row : active)
      tokens.push_back(rows[static_cast<std::size_t>(row)].narrow(0, t, 1));
    const at::Tensor out = stack.run(at::cat(tokens), *cache.step());
    std::vector<std::int64_t> keep;
    for (std::size_t i = 0; i < active.size(); ++i) {
      outs[static_cast<std::size_t>(active[i])].push_back(out.narrow(0, static_cast<std::int64_t>(i), 1));
      if (t + 1 < test.row_lengths[static_cast<std::size_t>(active[i])]) keep.push_back(active[i]);
    }
    cache.advance();
    cache.keep(keep);
    EXPECT_EQ(cache.active_rows(), keep);
  }

  std::vector<at::Tensor> cached;
  std::int64_t begin = 0;
  for (std::size_t p = 0, row = 0; p < prompts.size(); ++p) {
    cached.push_back(prompt_out.narrow(0, begin, test.prompt_lengths[p]));
    begin += test.prompt_lengths[p];
    for (std::int64_t g = 0; g < test.rows_per_prompt; ++g, ++row) {
      cached.insert(cached.end(), outs[row].begin(), outs[row].end());
    }
  }
  const at::Tensor actual = at::cat(cached);
  ASSERT_EQ(actual.sizes(), expected.sizes());
  EXPECT_LT((actual - expected).abs().max().item<double>(), tolerance);
}

TEST(KvCache, EqualsFullRecomputation) {
  expect_cache_is_exact({{5, 5}, 3, {6, 6, 6, 6, 6, 6}}, at::kDouble, 1e-12);
  expect_cache_is_exact({{5, 5}, 3, {6, 6, 6, 6, 6, 6}}, at::kFloat, 1e-5);
}

TEST(KvCache, MasksPromptsOfDifferentLengths) {
  expect_cache_is_exact({{5, 9, 1}, 2, {4, 4, 4, 4, 4, 4}}, at::kDouble, 1e-12);
}

TEST(KvCache, FollowsRowsThatEndOneByOne) {
  expect_cache_is_exact({{5, 9}, 4, {8, 2, 7, 6, 5, 4, 3, 1}}, at::kDouble, 1e-12);
}

TEST(KvCache, DropsPromptsWhoseRowsHaveAllEnded) {
  expect_cache_is_exact({{3, 9, 4}, 2, {6, 9, 2, 2, 3, 7}}, at::kDouble, 1e-12);
  expect_cache_is_exact({{9, 3, 3}, 2, {1, 1, 3, 7, 2, 6}}, at::kDouble, 1e-12);
}

TEST(KvCache, TakesManyRowsOfRaggedLengths) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t row = 0; row < 5 * 7; ++row) lengths.push_back(1 + row * 11 % 17);
  expect_cache_is_exact({{12, 3, 20, 7, 7}, 7, lengths}, at::kFloat, 1e-5);
}

TEST(KvCache, FollowsRecomputationWithinTheRoundingOfBfloat16) {
  expect_cache_is_exact({{5, 9}, 3, {4, 2, 6, 6, 3, 1}}, at::kBFloat16, 0.05);
}

TEST(KvCache, RefusesMisuse) {
  EXPECT_THROW(KvCache(2, {}), std::invalid_argument);
  KvCache cache(kLayers, {2});
  EXPECT_THROW((void)cache.step(), std::logic_error);
  EXPECT_THROW(cache.start_rows(2, 4), support::PluginError);  // no layer was prefilled
}

}  // namespace
}  // namespace graft::model
