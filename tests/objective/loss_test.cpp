// SPDX-License-Identifier: Apache-2.0
#include "objective/loss.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numeric>

#include "support/error.h"

namespace graft::objective {
namespace {

at::Tensor row(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble);
}

at::Tensor gradient(const LossInput& input, const LossOptions& options) {
  return torch::autograd::grad({grpo_loss(input, options).loss}, {input.logprobs})[0];
}

// Two completions, of 2 tokens and of 1.
LossInput small_input() {
  LossInput input;
  input.logprobs = row({-1.0, -0.5, -2.0}).requires_grad_();
  input.old_logprobs = row({-1.3, -0.4, -1.5});  // ratios e^0.3, e^-0.1, e^-0.5
  input.ref_logprobs = row({-1.1, -0.7, -1.9});
  input.advantages = {1.5, -0.5};
  input.lengths = {2, 1};
  input.step_completions = 4;
  input.step_tokens = 10;
  return input;
}

// Token losses of small_input() by hand: the first is clipped above, the last below.
std::vector<double> token_losses(double beta) {
  const auto k3 = [&](double difference) { return beta * (std::exp(difference) - difference - 1.0); };
  return {-1.2 * 1.5 + k3(-0.1), -std::exp(-0.1) * 1.5 + k3(-0.2), 0.8 * 0.5 + k3(0.1)};
}

TEST(GrpoLoss, EqualsHandComputedReductions) {
  const LossInput input = small_input();
  const auto l = token_losses(0.3);
  LossOptions options;
  options.beta = 0.3;
  options.max_completion_length = 16;
  const auto loss = [&](const std::string& type) {
    options.loss_type = type;
    return grpo_loss(input, options).loss.item<double>();
  };
  EXPECT_NEAR(loss("grpo"), ((l[0] + l[1]) / 2.0 + l[2]) / 4.0, 1e-12);
  EXPECT_NEAR(loss("bnpo"), (l[0] + l[1] + l[2]) / 10.0, 1e-12);
  EXPECT_NEAR(loss("dapo"), (l[0] + l[1] + l[2]) / 10.0, 1e-12);
  EXPECT_NEAR(loss("dr_grpo"), (l[0] + l[1] + l[2]) / (4.0 * 16.0), 1e-12);
  EXPECT_THROW((void)loss("ppo"), support::UserError);
}

TEST(GrpoLoss, CountsClippedTokensAndSumsTheDivergence) {
  LossOptions options;
  options.beta = 0.3;
  const LossParts parts = grpo_loss(small_input(), options);
  EXPECT_EQ(parts.clip_high_sum, 1.0);
  EXPECT_EQ(parts.clip_low_sum, 1.0);
  EXPECT_EQ(parts.tokens, 3);
  const auto l = token_losses(1.0), without = token_losses(0.0);
  EXPECT_NEAR(parts.kl_sum, l[0] + l[1] + l[2] - without[0] - without[1] - without[2], 1e-12);
}

TEST(GrpoLoss, ClipsOnlyTheSideThatTheAdvantageFavours) {
  LossInput input = small_input();
  input.advantages = {-1.5, 0.5};  // now high ratios with A < 0 and low ones with A > 0 stay
  const LossParts parts = grpo_loss(input, {});
  EXPECT_EQ(parts.clip_high_sum + parts.clip_low_sum, 0.0);
  const double expected = (1.5 * (std::exp(0.3) + std::exp(-0.1)) / 2.0 - 0.5 * std::exp(-0.5)) / 4.0;
  EXPECT_NEAR(parts.loss.item<double>(), expected, 1e-12);
}

TEST(GrpoLoss, LeavesMaskedCompletionsOut) {
  LossInput input = small_input();
  input.included = {true, false};
  LossOptions options;
  options.beta = 0.3;
  const LossParts parts = grpo_loss(input, options);
  const auto l = token_losses(0.3);
  EXPECT_NEAR(parts.loss.item<double>(), (l[0] + l[1]) / 2.0 / 4.0, 1e-12);
  EXPECT_EQ(parts.tokens, 2);
  EXPECT_EQ(parts.clip_low_sum, 0.0);
  EXPECT_EQ(gradient(input, options)[2].item<double>(), 0.0);
}

LossInput random_input(std::vector<std::int64_t> lengths, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  const auto draw = [&] { return at::rand({tokens}, generator, at::TensorOptions(at::kDouble)) - 1.5; };
  LossInput input;
  input.logprobs = draw().requires_grad_();
  input.old_logprobs = draw();
  input.ref_logprobs = draw();
  for (std::size_t i = 0; i < lengths.size(); ++i)
    input.advantages.push_back(i % 2 == 0 ? 1.0 + static_cast<double>(i) : -0.7);
  input.step_completions = static_cast<std::int64_t>(lengths.size());
  input.step_tokens = tokens;
  input.lengths = std::move(lengths);
  return input;
}

TEST(GrpoLoss, GradientEqualsFiniteDifferences) {
  constexpr double kStep = 1e-6;
  for (const char* type : {"grpo", "bnpo", "dr_grpo"}) {
    LossOptions options;
    options.loss_type = type;
    options.beta = 0.2;
    LossInput input = random_input({3, 1, 4, 2}, 5);
    const at::Tensor analytic = gradient(input, options);
    const at::Tensor base = input.logprobs.detach();
    for (std::int64_t i = 0; i < base.size(0); ++i) {
      const auto shifted = [&](double by) {
        input.logprobs = base.clone();
        input.logprobs[i] += by;
        return grpo_loss(input, options).loss.item<double>();
      };
      EXPECT_NEAR(analytic[i].item<double>(), (shifted(kStep) - shifted(-kStep)) / (2 * kStep), 1e-8)
          << type << i;
    }
  }
}

TEST(GrpoLoss, HasExactlyNoGradientForEqualRewards) {
  LossInput input = random_input({3, 2}, 9);
  input.advantages = {0.0, 0.0};
  EXPECT_EQ(gradient(input, {}).abs().max().item<double>(), 0.0);
}

TEST(GrpoLoss, IsThePolicyGradientAtRatioOne) {
  LossInput input = random_input({2, 1}, 11);
  input.old_logprobs = at::Tensor();
  const LossParts parts = grpo_loss(input, {});
  EXPECT_EQ(parts.clip_low_sum + parts.clip_high_sum, 0.0);
  EXPECT_NEAR(parts.loss.item<double>(), -(input.advantages[0] + input.advantages[1]) / 2.0, 1e-12);
  const at::Tensor expected = row({-1.0 / 4.0, -1.0 / 4.0, 0.7 / 2.0});
  EXPECT_LT((gradient(input, {}) - expected).abs().max().item<double>(), 1e-12);
}

TEST(GrpoLoss, DoesNotDependOnMicroBatches) {
  for (const char* type : {"grpo", "bnpo", "dr_grpo", "dapo"}) {
    LossOptions options;
    options.loss_type = type;
    options.beta = 0.1;
    const LossInput whole = random_input({3, 1, 4, 2}, 21);
    const LossParts all = grpo_loss(whole, options);
    const at::Tensor all_gradient = torch::autograd::grad({all.loss}, {whole.logprobs})[0];
    double loss = 0.0, kl = 0.0, clipped = 0.0;
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < whole.lengths.size(); ++i) {
      LossInput part = whole;
      const std::int64_t length = whole.lengths[i];
      part.logprobs = whole.logprobs.detach().narrow(0, begin, length).clone().requires_grad_();
      part.old_logprobs = whole.old_logprobs.narrow(0, begin, length);
      part.ref_logprobs = whole.ref_logprobs.narrow(0, begin, length);
      part.advantages = {whole.advantages[i]};
      part.lengths = {length};
      const LossParts parts = grpo_loss(part, options);
      loss += parts.loss.item<double>();
      kl += parts.kl_sum;
      clipped += parts.clip_low_sum + parts.clip_high_sum;
      EXPECT_LT((gradient(part, options) - all_gradient.narrow(0, begin, length)).abs().max().item<double>(),
                1e-12);
      begin += length;
    }
    EXPECT_NEAR(loss, all.loss.item<double>(), 1e-12);
    EXPECT_NEAR(kl, all.kl_sum, 1e-12);
    EXPECT_EQ(clipped, all.clip_low_sum + all.clip_high_sum);
  }
}

TEST(GrpoLoss, TakesEmptyCompletions) {
  LossInput input = small_input();
  input.lengths = {2, 0, 1};
  input.advantages = {1.5, 3.0, -0.5};
  const auto l = token_losses(0.0);
  EXPECT_NEAR(grpo_loss(input, {}).loss.item<double>(), ((l[0] + l[1]) / 2.0 + l[2]) / 4.0, 1e-12);
}

TEST(GrpoLoss, RefusesInputsThatDoNotFit) {
  LossInput input = small_input();
  input.lengths = {2, 2};
  EXPECT_THROW((void)grpo_loss(input, {}), std::invalid_argument);
  input = small_input();
  input.ref_logprobs = at::Tensor();
  LossOptions options;
  options.beta = 0.1;
  EXPECT_THROW((void)grpo_loss(input, options), std::invalid_argument);
}

}  // namespace
}  // namespace graft::objective
