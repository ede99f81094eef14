// SPDX-License-Identifier: Apache-2.0
#include "objective/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/tensor.h>

#include <numeric>
#include <stdexcept>

#include "support/error.h"
#include "support/strings.h"

namespace graft::objective {

namespace {

// Per token, on the device and in the dtype of the log-probabilities.
struct TokenTable {
  at::Tensor advantage;     // [N] of the token's completion
  at::Tensor weight;        // [N] of the token's loss in the sum over the step; 0 if masked
  at::Tensor mask;          // [N] 1 or 0
  std::int64_t tokens = 0;  // not masked
};

void check(const LossInput& input) {
  const std::int64_t tokens = std::accumulate(input.lengths.begin(), input.lengths.end(), std::int64_t{0});
  const auto is_token_tensor = [&](const at::Tensor& x) {
    return !x.defined() || (x.dim() == 1 && x.size(0) == tokens);
  };
  if (!input.logprobs.defined() || !is_token_tensor(input.logprobs) || !is_token_tensor(input.old_logprobs) ||
      !is_token_tensor(input.ref_logprobs)) {
    throw std::invalid_argument("grpo_loss: log-probabilities do not match the completions' lengths");
  }
  if (input.advantages.size() != input.lengths.size() ||
      (!input.included.empty() && input.included.size() != input.lengths.size())) {
    throw std::invalid_argument("grpo_loss: there must be one advantage and one mask per completion");
  }
  if (input.step_completions < static_cast<std::int64_t>(input.lengths.size())) {
    throw std::invalid_argument("grpo_loss: a step has no fewer completions than its micro-batch");
  }
}

// What one token of a completion with `length` tokens weighs in the loss of the step.
double token_weight(const LossInput& input, const LossOptions& options, std::int64_t length) {
  const auto completions = static_cast<double>(input.step_completions);
  if (options.loss_type == "grpo") return 1.0 / (static_cast<double>(length) * completions);
  if (options.loss_type == "dr_grpo")
    return 1.0 / (completions * static_cast<double>(options.max_completion_length));
  if (options.loss_type == "bnpo" || options.loss_type == "dapo") {
    return 1.0 / static_cast<double>(std::max<std::int64_t>(input.step_tokens, 1));
  }
  throw support::UserError(support::cat("loss_type is \"", options.loss_type, "\"; expected ",
                                        "\"grpo\", \"bnpo\", \"dr_grpo\" or \"dapo\""));
}

TokenTable token_table(const LossInput& input, const LossOptions& options) {
  std::vector<double> advantage, weight, mask;
  TokenTable table;
  for (std::size_t i = 0; i < input.lengths.size(); ++i) {
    const bool is_included = input.included.empty() || input.included[i];
    const auto length = static_cast<std::size_t>(input.lengths[i]);
    if (is_included) table.tokens += input.lengths[i];
    advantage.insert(advantage.end(), length, input.advantages[i]);
    weight.insert(weight.end(), length, is_included ? token_weight(input, options, input.lengths[i]) : 0.0);
    mask.insert(mask.end(), length, is_included ? 1.0 : 0.0);
  }
  const auto to_tensor = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(input.logprobs.options());
  };
  table.advantage = to_tensor(advantage);
  table.weight = to_tensor(weight);
  table.mask = to_tensor(mask);
  return table;
}

double count(const at::Tensor& condition, const TokenTable& table) {
  return (condition.to(table.mask.scalar_type()) * table.mask).sum(at::kDouble).item<double>();
}

}  // namespace

LossParts grpo_loss(const LossInput& input, const LossOptions& options) {
  check(input);
  const TokenTable table = token_table(input, options);
  const at::Tensor& logprobs = input.logprobs;
  const at::Tensor old_logprobs =
      input.old_logprobs.defined() ? input.old_logprobs.detach() : logprobs.detach();
  const double low = 1.0 - options.epsilon, high = 1.0 + options.epsilon_high;

  const at::Tensor ratio = at::exp(logprobs - old_logprobs);  // [N]
  const at::Tensor surrogate = ratio * table.advantage;
  const at::Tensor clipped = at::clamp(ratio, low, high) * table.advantage;
  at::Tensor token_loss = -at::minimum(surrogate, clipped);

  LossParts parts;
  parts.tokens = table.tokens;
  parts.clip_low_sum = count((ratio < low).logical_and(table.advantage < 0), table);
  parts.clip_high_sum = count((ratio > high).logical_and(table.advantage > 0), table);
  if (options.beta != 0.0) {
    if (!input.ref_logprobs.defined())
      throw std::invalid_argument("grpo_loss: beta without reference log-probabilities");
    // k3 of Schulman, "Approximating KL divergence" (2020): unbiased and never negative. expm1 keeps small
    // values exact.
    const at::Tensor difference = input.ref_logprobs.detach() - logprobs;
    const at::Tensor kl = at::expm1(difference) - difference;
    parts.kl_sum = (kl.detach() * table.mask).sum(at::kDouble).item<double>();
    token_loss = token_loss + options.beta * kl;
  }
  parts.loss = (token_loss * table.weight).sum();
  return parts;
}

}  // namespace graft::objective
