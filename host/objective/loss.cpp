// SPDX-License-Identifier: Apache-2.0
#include "objective/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "support/error.h"
#include "support/strings.h"

namespace graft::objective {

namespace {

// The completions of a micro-batch as float64 tensors on the device of the log-probabilities.
struct Completions {
  at::Tensor lengths;       // int64 [C]
  at::Tensor advantage;     // [C]
  at::Tensor weight;        // [C] of each token's loss in the sum over the step; 0 if masked
  at::Tensor mask;          // [C] 1 or 0
  at::Tensor counted;       // [C] tokens that are not masked, at least 1
  std::int64_t tokens = 0;  // not masked

  [[nodiscard]] at::Tensor to_tokens(const at::Tensor& values) const {
    return at::repeat_interleave(values, lengths);  // [C] -> [N]
  }
  [[nodiscard]] at::Tensor sum(const at::Tensor& token_values) const {
    return at::segment_reduce(token_values, "sum", lengths, /*indices=*/{}, /*offsets=*/{}, /*axis=*/0,
                              /*unsafe=*/true, /*initial=*/0.0);  // [N] -> [C]
  }
};

void check(const LossInput& input) {
  const std::int64_t tokens = std::accumulate(input.lengths.begin(), input.lengths.end(), std::int64_t{0});
  const auto is_token_tensor = [&](const at::Tensor& x) {
    return !x.defined() || (x.dim() == 1 && x.size(0) == tokens);
  };
  if (!input.logprobs.defined() || !is_token_tensor(input.logprobs) || !is_token_tensor(input.old_logprobs) ||
      !is_token_tensor(input.ref_logprobs) || !is_token_tensor(input.policy_mask)) {
    throw std::invalid_argument("policy_loss: log-probabilities do not match the completions' lengths");
  }
  if (input.advantages.size() != input.lengths.size() ||
      (!input.included.empty() && input.included.size() != input.lengths.size())) {
    throw std::invalid_argument("policy_loss: there must be one advantage and one mask per completion");
  }
  if (input.step_completions < static_cast<std::int64_t>(input.lengths.size())) {
    throw std::invalid_argument("policy_loss: a step has no fewer completions than its micro-batch");
  }
}

// What one token of a completion with `length` tokens weighs in the loss of the step.
double token_weight(const LossInput& input, const LossOptions& options, std::int64_t length) {
  const auto completions = static_cast<double>(input.step_completions);
  const auto step_tokens = static_cast<double>(std::max<std::int64_t>(input.step_tokens, 1));
  const std::string& type = options.loss_type;
  if (type == "grpo" || type == "gspo") return 1.0 / (static_cast<double>(length) * completions);
  if (type == "dr_grpo") return 1.0 / (completions * static_cast<double>(options.max_completion_length));
  if (type == "bnpo") return 1.0 / step_tokens;
  if (type == "dapo" || type == "cispo") {
    return 1.0 / (input.mean_step_tokens > 0.0 ? std::max(input.mean_step_tokens, 1.0) : step_tokens);
  }
  throw support::UserError(
      support::cat("loss_type is \"", type,
                   "\"; expected \"grpo\", \"bnpo\", \"dr_grpo\", \"dapo\", \"cispo\" or \"gspo\""));
}

Completions describe(const LossInput& input, const LossOptions& options) {
  std::vector<double> weight, mask, counted;
  Completions result;
  for (std::size_t i = 0; i < input.lengths.size(); ++i) {
    const bool is_included = input.included.empty() || input.included[i];
    const std::int64_t length = is_included ? input.lengths[i] : 0;
    result.tokens += length;
    mask.push_back(is_included ? 1.0 : 0.0);
    weight.push_back(length > 0 ? token_weight(input, options, length) : 0.0);
    counted.push_back(static_cast<double>(std::max<std::int64_t>(length, 1)));
  }
  const auto to_tensor = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(input.logprobs.device());
  };
  result.lengths = at::tensor(input.lengths, at::kLong).to(input.logprobs.device());
  result.advantage = to_tensor(input.advantages);
  result.weight = to_tensor(weight);
  result.mask = to_tensor(mask);
  result.counted = to_tensor(counted);
  return result;
}

std::vector<double> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kCPU, at::kDouble).contiguous();
  const auto* data = flat.const_data_ptr<double>();
  return {data, data + flat.numel()};
}

// Counts ratios [N] or [C] beyond the clip range. As in TRL, delta bounds the ratio before it is counted.
ClipCounts count_clipped(const Completions& completions, const at::Tensor& log_ratio,
                         const at::Tensor& advantage, const LossOptions& options, bool by_completion) {
  const bool is_cispo = options.loss_type == "cispo";
  at::Tensor ratio = at::exp(log_ratio.detach());
  if (options.delta && !is_cispo) ratio = at::clamp_max(ratio, *options.delta);
  const auto as_numbers = [](const at::Tensor& condition) { return condition.to(at::kDouble); };
  const at::Tensor high = as_numbers(
      (ratio > (is_cispo ? options.epsilon_high : 1.0 + options.epsilon_high)).logical_and(advantage > 0));
  const at::Tensor low =
      is_cispo ? high.mul(0.0) : as_numbers((ratio < 1.0 - options.epsilon).logical_and(advantage < 0));
  ClipCounts counts;
  if (by_completion) {
    counts.low_shares = to_vector(low);
    counts.high_shares = to_vector(high);
    counts.low = low.sum().item<double>();
    counts.high = high.sum().item<double>();
    counts.units = static_cast<double>(ratio.size(0));
    return counts;
  }
  const at::Tensor low_tokens = completions.sum(low) * completions.mask;    // [C]
  const at::Tensor high_tokens = completions.sum(high) * completions.mask;  // [C]
  counts.low = low_tokens.sum().item<double>();
  counts.high = high_tokens.sum().item<double>();
  counts.units = static_cast<double>(completions.tokens);
  const std::vector<double> low_all = to_vector(low_tokens / completions.counted);
  const std::vector<double> high_all = to_vector(high_tokens / completions.counted);
  const std::vector<double> mask = to_vector(completions.mask * completions.lengths);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0.0) continue;
    counts.low_shares.push_back(low_all[i]);
    counts.high_shares.push_back(high_all[i]);
  }
  return counts;
}

// -min(ρA, clip(ρ)A), or cispo's form; [N], or [C] if the ratio is one a completion and the loss needs no token.
at::Tensor surrogate_loss(const at::Tensor& ratio, const at::Tensor& advantage, const at::Tensor& logprobs,
                          const LossOptions& options) {
  if (options.loss_type == "cispo") {
    return -(at::clamp_max(ratio, options.epsilon_high).detach() * advantage * logprobs);
  }
  const at::Tensor clipped = at::clamp(ratio, 1.0 - options.epsilon, 1.0 + options.epsilon_high);
  const at::Tensor bounded = options.delta ? at::clamp_max(ratio, *options.delta) : ratio;
  return -at::minimum(bounded * advantage, clipped * advantage);
}

}  // namespace

LossParts policy_loss(const LossInput& input, const LossOptions& options) {
  check(input);
  const Completions completions = describe(input, options);
  const at::Tensor logprobs = input.logprobs.to(at::kDouble);  // [N]
  const at::Tensor old_logprobs =
      input.old_logprobs.defined() ? input.old_logprobs.detach().to(at::kDouble) : logprobs.detach();
  const at::Tensor advantage = completions.to_tokens(completions.advantage);  // [N]

  LossParts parts;
  parts.tokens = completions.tokens;
  at::Tensor log_ratio = logprobs - old_logprobs;  // [N]
  if (options.uses_sequence_ratio()) {
    log_ratio = completions.sum(log_ratio) * completions.mask / completions.counted;  // [C]
    parts.clipped = count_clipped(completions, log_ratio, completions.advantage, options,
                                  /*by_completion=*/true);
    log_ratio = completions.to_tokens(log_ratio);
  } else {
    parts.clipped = count_clipped(completions, log_ratio, advantage, options, /*by_completion=*/false);
  }
  const at::Tensor ratio = at::exp(log_ratio);
  at::Tensor token_loss = surrogate_loss(ratio, advantage, logprobs, options);  // [N]
  if (input.policy_mask.defined()) token_loss = token_loss * input.policy_mask.to(at::kDouble);

  if (options.beta != 0.0) {
    if (!input.ref_logprobs.defined()) {
      throw std::invalid_argument("policy_loss: beta without reference log-probabilities");
    }
    // k3 of Schulman, "Approximating KL divergence" (2020): unbiased and never negative. expm1 keeps small
    // values exact.
    const at::Tensor difference = input.ref_logprobs.detach().to(at::kDouble) - logprobs;
    at::Tensor kl = at::expm1(difference) - difference;
    if (options.use_bias_correction_kl) kl = kl * ratio;
    parts.kl_sum = (completions.sum(kl.detach()) * completions.mask).sum().item<double>();
    token_loss = token_loss + options.beta * kl;
  }
  parts.loss = (completions.sum(token_loss) * completions.weight).sum();
  return parts;
}

}  // namespace graft::objective
