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
  return torch::autograd::grad({policy_loss(input, options).loss}, {input.logprobs})[0];
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
std::vector<double> token_losses(double beta, bool corrects_kl = true) {
  const auto k3 = [&](double difference, double log_ratio) {
    return beta * (std::exp(difference) - difference - 1.0) * (corrects_kl ? std::exp(log_ratio) : 1.0);
  };
  return {-1.2 * 1.5 + k3(-0.1, 0.3), -std::exp(-0.1) * 1.5 + k3(-0.2, -0.1), 0.8 * 0.5 + k3(0.1, -0.5)};
}

TEST(PolicyLoss, EqualsHandComputedReductions) {
  const LossInput input = small_input();
  const auto l = token_losses(0.3);
  LossOptions options;
  options.beta = 0.3;
  options.max_completion_length = 16;
  const auto loss = [&](const std::string& type) {
    options.loss_type = type;
    return policy_loss(input, options).loss.item<double>();
  };
  EXPECT_NEAR(loss("grpo"), ((l[0] + l[1]) / 2.0 + l[2]) / 4.0, 1e-12);
  EXPECT_NEAR(loss("bnpo"), (l[0] + l[1] + l[2]) / 10.0, 1e-12);
  EXPECT_NEAR(loss("dapo"), (l[0] + l[1] + l[2]) / 10.0, 1e-12);
  EXPECT_NEAR(loss("dr_grpo"), (l[0] + l[1] + l[2]) / (4.0 * 16.0), 1e-12);
  EXPECT_THROW((void)loss("ppo"), support::UserError);
}

TEST(PolicyLoss, TheBiasCorrectionOfThePenaltyCanBeLeftOut) {
  LossOptions options;
  options.loss_type = "bnpo";
  options.beta = 0.3;
  options.use_bias_correction_kl = false;
  const auto l = token_losses(0.3, false);
  EXPECT_NEAR(policy_loss(small_input(), options).loss.item<double>(), (l[0] + l[1] + l[2]) / 10.0, 1e-12);
}

TEST(PolicyLoss, DapoAndCispoDivideByTheMeanTokensOfTheRolloutsSteps) {
  LossInput input = small_input();
  input.mean_step_tokens = 12.5;
  const auto l = token_losses(0.0);
  LossOptions options;
  options.loss_type = "dapo";
  EXPECT_NEAR(policy_loss(input, options).loss.item<double>(), (l[0] + l[1] + l[2]) / 12.5, 1e-12);
  options.loss_type = "bnpo";  // by its own tokens
  EXPECT_NEAR(policy_loss(input, options).loss.item<double>(), (l[0] + l[1] + l[2]) / 10.0, 1e-12);
}

TEST(PolicyLoss, CispoWeighsLogprobsByTheCappedRatio) {
  LossOptions options;
  options.loss_type = "cispo";
  options.epsilon_high = 1.2;  // an absolute cap
  const LossInput input = small_input();
  const std::vector<double> weights = {1.2 * 1.5, std::exp(-0.1) * 1.5, std::exp(-0.5) * -0.5};
  const double expected = -(weights[0] * -1.0 + weights[1] * -0.5 + weights[2] * -2.0) / 10.0;
  const LossParts parts = policy_loss(input, options);
  EXPECT_NEAR(parts.loss.item<double>(), expected, 1e-12);
  EXPECT_EQ(parts.clipped.high, 1.0);
  EXPECT_EQ(parts.clipped.low, 0.0);
  // The capped token still learns: that is cispo's point.
  EXPECT_NEAR(gradient(input, options)[0].item<double>(), -1.2 * 1.5 / 10.0, 1e-12);
}

TEST(PolicyLoss, GspoHasOneRatioACompletion) {
  LossOptions options;
  options.loss_type = "gspo";
  const LossInput input = small_input();
  const double first = std::exp((0.3 - 0.1) / 2.0);  // the second completion's, e^-0.5, is clipped: A < 0
  const LossParts parts = policy_loss(input, options);
  EXPECT_NEAR(parts.loss.item<double>(), (-first * 1.5 + 0.8 * 0.5) / 4.0, 1e-12);
  EXPECT_EQ(parts.clipped.low, 1.0);
  EXPECT_EQ(parts.clipped.units, 2.0);
  const at::Tensor grad = gradient(input, options);
  EXPECT_NEAR(grad[0].item<double>(), -first * 1.5 / 2.0 / 4.0, 1e-12);
  EXPECT_EQ(grad[2].item<double>(), 0.0);
  options.loss_type = "grpo";
  options.sequence_ratio = true;
  EXPECT_EQ(policy_loss(input, options).loss.item<double>(), parts.loss.item<double>());
}

TEST(PolicyLoss, DeltaBoundsTheRatioThatANegativeAdvantageLeavesFree) {
  LossInput input = small_input();
  input.advantages = {-1.5, 0.5};
  LossOptions options;
  options.delta = 1.25;  // e^0.3 is 1.35
  const double expected = (1.5 * (1.25 + std::exp(-0.1)) / 2.0 - 0.5 * std::exp(-0.5)) / 4.0;
  EXPECT_NEAR(policy_loss(input, options).loss.item<double>(), expected, 1e-12);
  EXPECT_EQ(gradient(input, options)[0].item<double>(), 0.0);
}

TEST(PolicyLoss, PolicyMaskSparesThePenalty) {
  LossInput input = small_input();
  input.policy_mask = at::tensor({1, 0, 1}, at::kLong).to(at::kBool);
  LossOptions options;
  options.loss_type = "bnpo";
  options.beta = 0.3;
  const auto l = token_losses(0.3), policy = token_losses(0.0);
  EXPECT_NEAR(policy_loss(input, options).loss.item<double>(), (l[0] + (l[1] - policy[1]) + l[2]) / 10.0,
              1e-12);
}

TEST(PolicyLoss, TellsTheClippedShareOfEachCompletion) {
  const LossParts parts = policy_loss(small_input(), {});
  EXPECT_EQ(parts.clipped.high_shares, (std::vector<double>{0.5, 0.0}));
  EXPECT_EQ(parts.clipped.low_shares, (std::vector<double>{0.0, 1.0}));
  LossInput masked = small_input();
  masked.included = {true, false};
  EXPECT_EQ(policy_loss(masked, {}).clipped.low_shares, (std::vector<double>{0.0}));
}

TEST(PolicyLoss, CountsClippedTokensAndSumsTheDivergence) {
  LossOptions options;
  options.beta = 0.3;
  const LossParts parts = policy_loss(small_input(), options);
  EXPECT_EQ(parts.clipped.high, 1.0);
  EXPECT_EQ(parts.clipped.low, 1.0);
  EXPECT_EQ(parts.tokens, 3);
  const auto l = token_losses(1.0), without = token_losses(0.0);
  EXPECT_NEAR(parts.kl_sum, l[0] + l[1] + l[2] - without[0] - without[1] - without[2], 1e-12);
}

TEST(PolicyLoss, ClipsOnlyTheSideThatTheAdvantageFavours) {
  LossInput input = small_input();
  input.advantages = {-1.5, 0.5};  // now high ratios with A < 0 and low ones with A > 0 stay
  const LossParts parts = policy_loss(input, {});
  EXPECT_EQ(parts.clipped.high + parts.clipped.low, 0.0);
  const double expected = (1.5 * (std::exp(0.3) + std::exp(-0.1)) / 2.0 - 0.5 * std::exp(-0.5)) / 4.0;
  EXPECT_NEAR(parts.loss.item<double>(), expected, 1e-12);
}

TEST(PolicyLoss, LeavesMaskedCompletionsOut) {
  LossInput input = small_input();
  input.included = {true, false};
  LossOptions options;
  options.beta = 0.3;
  const LossParts parts = policy_loss(input, options);
  const auto l = token_losses(0.3);
  EXPECT_NEAR(parts.loss.item<double>(), (l[0] + l[1]) / 2.0 / 4.0, 1e-12);
  EXPECT_EQ(parts.tokens, 2);
  EXPECT_EQ(parts.clipped.low, 0.0);
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

// Every objective, with and without each of its options.
std::vector<LossOptions> every_objective() {
  std::vector<LossOptions> all;
  for (const char* type : {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"}) {
    for (const double beta : {0.0, 0.2}) {
      for (const bool has_delta : {false, true}) {
        if (has_delta && std::string(type) == "cispo") continue;
        LossOptions options;
        options.loss_type = type;
        options.beta = beta;
        options.epsilon = 0.15;
        options.epsilon_high = std::string(type) == "cispo" ? 1.1 : 0.25;
        if (has_delta) options.delta = 1.4;
        options.use_bias_correction_kl =
            std::string(type) != "cispo" || beta == 0.0;  // see finite differences
        all.push_back(options);
      }
    }
  }
  return all;
}

TEST(PolicyLoss, GradientEqualsFiniteDifferences) {
  constexpr double kStep = 1e-6;
  for (const LossOptions& options : every_objective()) {
    // cispo's weight is a constant to the gradient, so finite differences only hold where it is one: at a fixed ratio. There the
    // correction of the penalty would be a constant too, which it is not to the gradient.
    const bool is_cispo = options.loss_type == "cispo";
    LossInput input = random_input({3, 1, 4, 2}, 5);
    input.policy_mask = at::tensor({1, 1, 0, 1, 1, 1, 1, 0, 1, 1}, at::kLong).to(at::kBool);
    const at::Tensor analytic = gradient(input, options);
    const at::Tensor base = input.logprobs.detach(), old = input.old_logprobs;
    for (std::int64_t i = 0; i < base.size(0); ++i) {
      const auto shifted = [&](double by) {
        input.logprobs = base.clone();
        input.logprobs[i] += by;
        input.old_logprobs = is_cispo ? old + (input.logprobs - base) : old;
        return policy_loss(input, options).loss.item<double>();
      };
      EXPECT_NEAR(analytic[i].item<double>(), (shifted(kStep) - shifted(-kStep)) / (2 * kStep), 1e-8)
          << options.loss_type << " beta " << options.beta << " token " << i;
    }
    input.logprobs = base;
    input.old_logprobs = old;
  }
}

TEST(PolicyLoss, HasExactlyNoGradientForEqualRewards) {
  for (LossOptions options : every_objective()) {
    options.beta = 0.0;
    LossInput input = random_input({3, 2}, 9);
    input.advantages = {0.0, 0.0};
    EXPECT_EQ(gradient(input, options).abs().max().item<double>(), 0.0) << options.loss_type;
  }
}

TEST(PolicyLoss, RatioIsExactlyOneWithoutOldLogprobs) {
  for (LossOptions options : every_objective()) {
    LossInput input = random_input({3, 1, 4, 2}, 13);
    LossInput same = input;
    input.old_logprobs = at::Tensor();
    same.old_logprobs = same.logprobs.detach();
    options.epsilon = 0.0;  // any other ratio would be clipped
    options.epsilon_high = options.loss_type == "cispo" ? 1.0 : 0.0;
    const LossParts parts = policy_loss(input, options);
    EXPECT_EQ(parts.clipped.low + parts.clipped.high, 0.0) << options.loss_type;
    EXPECT_EQ(parts.loss.item<double>(), policy_loss(same, options).loss.item<double>());
  }
}

TEST(PolicyLoss, IsThePolicyGradientAtRatioOne) {
  LossInput input = random_input({2, 1}, 11);
  input.old_logprobs = at::Tensor();
  const LossParts parts = policy_loss(input, {});
  EXPECT_EQ(parts.clipped.low + parts.clipped.high, 0.0);
  EXPECT_NEAR(parts.loss.item<double>(), -(input.advantages[0] + input.advantages[1]) / 2.0, 1e-12);
  const at::Tensor expected = row({-1.0 / 4.0, -1.0 / 4.0, 0.7 / 2.0});
  EXPECT_LT((gradient(input, {}) - expected).abs().max().item<double>(), 1e-12);
}

TEST(PolicyLoss, DoesNotDependOnMicroBatches) {
  for (const LossOptions& options : every_objective()) {
    const LossInput whole = random_input({3, 1, 4, 2}, 21);
    const LossParts all = policy_loss(whole, options);
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
      const LossParts parts = policy_loss(part, options);
      loss += parts.loss.item<double>();
      kl += parts.kl_sum;
      clipped += parts.clipped.low + parts.clipped.high;
      EXPECT_LT((gradient(part, options) - all_gradient.narrow(0, begin, length)).abs().max().item<double>(),
                1e-12);
      begin += length;
    }
    EXPECT_NEAR(loss, all.loss.item<double>(), 1e-12);
    EXPECT_NEAR(kl, all.kl_sum, 1e-12);
    EXPECT_EQ(clipped, all.clipped.low + all.clipped.high);
  }
}

TEST(PolicyLoss, TakesEmptyCompletions) {
  LossInput input = small_input();
  input.lengths = {2, 0, 1};
  input.advantages = {1.5, 3.0, -0.5};
  const auto l = token_losses(0.0);
  EXPECT_NEAR(policy_loss(input, {}).loss.item<double>(), ((l[0] + l[1]) / 2.0 + l[2]) / 4.0, 1e-12);
}

TEST(PolicyLoss, RefusesInputsThatDoNotFit) {
  LossInput input = small_input();
  input.lengths = {2, 2};
  EXPECT_THROW((void)policy_loss(input, {}), std::invalid_argument);
  input = small_input();
  input.ref_logprobs = at::Tensor();
  LossOptions options;
  options.beta = 0.1;
  EXPECT_THROW((void)policy_loss(input, options), std::invalid_argument);
}

}  // namespace
}  // namespace graft::objective
