// SPDX-License-Identifier: Apache-2.0
#include "rollout/sampling.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "support/error.h"
#include "support/random.h"

namespace graft::rollout {
namespace {

// Probabilities of tokens 0 … 5: 0.05, 0.3, 0.1, 0.3, 0.05, 0.2.
at::Tensor known_logits() {
  return at::tensor({0.05F, 0.3F, 0.1F, 0.3F, 0.05F, 0.2F}).log().unsqueeze(0);
}

// The tokens that are drawn at all, over a fine grid of draws.
std::set<std::int64_t> support_of(const at::Tensor& logits, const TokenSampling& sampling) {
  std::set<std::int64_t> ids;
  std::vector<Draw> draws;
  for (int i = 0; i < 1000; ++i) draws.push_back({0, i / 1000.0});
  for (const SampledToken& token : sample_tokens(logits, draws, sampling)) ids.insert(token.id);
  return ids;
}

using Ids = std::set<std::int64_t>;

TEST(SampleTokens, InvertsTheDistributionFunction) {
  const std::vector<Draw> draws = {{0, 0.0},   {0, 0.049}, {0, 0.051},   {0, 0.349},
                                   {0, 0.351}, {0, 0.81},  {0, 0.999999}};
  std::vector<std::int64_t> ids;
  for (const SampledToken& token : sample_tokens(known_logits(), draws, {})) ids.push_back(token.id);
  EXPECT_EQ(ids, (std::vector<std::int64_t>{0, 0, 1, 1, 2, 5, 5}));
}

TEST(SampleTokens, DrawsWithTheRightFrequencies) {
  constexpr int kDraws = 40000;
  std::vector<Draw> draws;
  support::KeyedRandom random(1, {2});
  for (int i = 0; i < kDraws; ++i) draws.push_back({0, random.uniform()});
  std::vector<double> share(6, 0.0);
  for (const SampledToken& token : sample_tokens(known_logits(), draws, {})) {
    share[static_cast<std::size_t>(token.id)] += 1.0 / kDraws;
  }
  const std::vector<double> expected = {0.05, 0.3, 0.1, 0.3, 0.05, 0.2};
  for (std::size_t i = 0; i < share.size(); ++i) EXPECT_NEAR(share[i], expected[i], 0.01);
}

TEST(SampleTokens, RecordsTheLogprobOfTheTemperedDistribution) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(4);
  const at::Tensor logits = at::randn({3, 50}, generator, at::TensorOptions(at::kFloat)) * 3;
  std::vector<Draw> draws;
  for (int i = 0; i < 30; ++i) draws.push_back({i % 3, i / 30.0});
  TokenSampling sampling;
  sampling.temperature = 0.6;
  sampling.top_k = 10;  // does not enter
  sampling.top_p = 0.8;
  const at::Tensor expected = at::log_softmax(logits / 0.6, 1);
  const auto tokens = sample_tokens(logits, draws, sampling);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_NEAR(tokens[i].logprob, expected[draws[i].logits_row][tokens[i].id].item<float>(), 1e-5);
  }
}

TEST(SampleTokens, IsGreedyAtTemperatureZero) {
  TokenSampling sampling;
  sampling.temperature = 0.0;
  const auto tokens = sample_tokens(known_logits(), std::vector<Draw>{{0, 0.99}}, sampling);
  EXPECT_EQ(tokens[0].id, 1);  // the first of the two most probable
  EXPECT_NEAR(tokens[0].logprob, std::log(0.3), 1e-6);
}

TEST(SampleTokens, KeepsTheMostProbableByRank) {
  TokenSampling sampling;
  sampling.top_k = 3;
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1, 3, 5}));
  sampling.top_k = 1;  // a tie at the k-th: both stay
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1, 3}));
  sampling.top_k = 6;
  EXPECT_EQ(support_of(known_logits(), sampling).size(), 6U);
}

TEST(SampleTokens, KeepsTheFewestThatReachTheMass) {
  TokenSampling sampling;
  sampling.top_p = 0.79;
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1, 3, 5}));
  sampling.top_p = 0.81;
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1, 2, 3, 5}));
  sampling.top_p = 0.3 - 1e-3;
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1}));
  sampling.top_p = 1e-6;
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1}));
}

TEST(SampleTokens, AppliesTopPAfterTopK) {
  TokenSampling sampling;
  sampling.top_k = 3;  // leaves 0.3, 0.3, 0.2: 0.375, 0.375, 0.25 of the rest
  sampling.top_p = 0.7;
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{1, 3}));
}

TEST(SampleTokens, LeavesBannedTokensOut) {
  TokenSampling sampling;
  sampling.banned_ids = {1, 5};
  EXPECT_EQ(support_of(known_logits(), sampling), (Ids{0, 2, 3, 4}));
  const auto token = sample_tokens(known_logits(), std::vector<Draw>{{0, 0.5}}, sampling)[0];
  EXPECT_EQ(token.id, 3);
  EXPECT_NEAR(token.logprob, std::log(0.3 / 0.5), 1e-6);
}

TEST(SampleTokens, DoesNotDependOnThreads) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(6);
  const at::Tensor logits = at::randn({16, 3001}, generator, at::TensorOptions(at::kFloat)) * 4;
  std::vector<Draw> draws;
  support::KeyedRandom random(3, {});
  for (int i = 0; i < 64; ++i) draws.push_back({i % 16, random.uniform()});
  TokenSampling sampling;
  sampling.top_p = 0.95;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = sample_tokens(logits, draws, sampling);
  at::set_num_threads(4);
  const auto four = sample_tokens(logits, draws, sampling);
  at::set_num_threads(threads);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].id, four[i].id);
    EXPECT_EQ(one[i].logprob, four[i].logprob);
  }
}

TEST(SampleTokens, ReportsLogitsThatAreNotFinite) {
  at::Tensor logits = known_logits();
  logits[0][2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW((void)sample_tokens(logits, std::vector<Draw>{{0, 0.5}}, {}), support::DivergedError);
}

}  // namespace
}  // namespace graft::rollout
