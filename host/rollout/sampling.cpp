// SPDX-License-Identifier: Apache-2.0
#include "rollout/sampling.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>

#include "support/error.h"

namespace graft::rollout {

namespace {

struct Candidate {
  std::int64_t id;
  float probability;
};

// Inverts the distribution function over candidates in order of their ids; sums run in double. Never selects
// a candidate of probability 0.
template <typename Probability>
std::size_t invert(std::size_t n, double uniform, const Probability& probability) {
  double total = 0.0, reached = 0.0;
  for (std::size_t i = 0; i < n; ++i) total += static_cast<double>(probability(i));
  const double target = uniform * total;
  std::size_t last = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (probability(i) <= 0.0F) continue;
    last = i;
    reached += static_cast<double>(probability(i));
    if (reached > target) break;
  }
  return last;
}

std::vector<Candidate> filtered(std::span<const float> probabilities, const TokenSampling& sampling) {
  const std::size_t vocab = probabilities.size();
  float least = 0.0F;
  if (sampling.top_k > 0 && static_cast<std::size_t>(sampling.top_k) < vocab) {
    std::vector<float> sorted(probabilities.begin(), probabilities.end());
    const auto kth = sorted.begin() + (sampling.top_k - 1);
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    least = *kth;
  } else if (sampling.top_p < 1.0) {
    // Tokens below this sum to less than 1 - top_p, so top-p keeps none of them: no need to sort them.
    least = static_cast<float>(0.99 * (1.0 - sampling.top_p) / static_cast<double>(vocab));
  }
  std::vector<Candidate> kept;
  for (std::size_t id = 0; id < vocab; ++id) {
    if (probabilities[id] >= least) kept.push_back({static_cast<std::int64_t>(id), probabilities[id]});
  }
  if (sampling.top_p >= 1.0) return kept;
  std::sort(kept.begin(), kept.end(), [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
  });
  double total = 0.0;
  if (sampling.top_k > 0) {
    for (const Candidate& candidate : kept) total += static_cast<double>(candidate.probability);
  } else {
    for (const float probability : probabilities) total += static_cast<double>(probability);
  }
  double before = 0.0;
  std::size_t n = 0;
  while (n < kept.size() && (n == 0 || before < sampling.top_p * total)) {
    before += static_cast<double>(kept[n++].probability);
  }
  kept.resize(n);
  std::sort(kept.begin(), kept.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  return kept;
}

std::int64_t pick(std::span<const float> probabilities, double uniform, const TokenSampling& sampling) {
  if (sampling.temperature == 0.0) {
    return std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin();
  }
  if (sampling.top_k == 0 && sampling.top_p >= 1.0) {
    return static_cast<std::int64_t>(
        invert(probabilities.size(), uniform, [&](std::size_t i) { return probabilities[i]; }));
  }
  const std::vector<Candidate> kept = filtered(probabilities, sampling);
  return kept[invert(kept.size(), uniform, [&](std::size_t i) { return kept[i].probability; })].id;
}

}  // namespace

std::vector<SampledToken> sample_tokens(const at::Tensor& logits, std::span<const Draw> draws,
                                        const TokenSampling& sampling) {
  if (logits.dim() != 2) throw std::invalid_argument("sample_tokens: expected logits [rows, vocabulary]");
  const at::NoGradGuard no_grad;
  at::Tensor scores =
      logits.detach().to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  if (sampling.temperature != 0.0 && sampling.temperature != 1.0) scores.div_(sampling.temperature);
  if (!sampling.banned_ids.empty()) {
    scores.index_fill_(1, at::tensor(sampling.banned_ids, at::kLong),
                       -std::numeric_limits<double>::infinity());
  }
  const at::Tensor lse = at::logsumexp(scores, {1});                    // [M]
  const at::Tensor probabilities = (scores - lse.unsqueeze(1)).exp_();  // [M, V]
  const auto vocab = static_cast<std::size_t>(scores.size(1));
  const float* const score = scores.const_data_ptr<float>();
  const float* const probability = probabilities.const_data_ptr<float>();
  const float* const normalizer = lse.const_data_ptr<float>();
  for (std::int64_t row = 0; row < scores.size(0); ++row) {
    if (std::isfinite(normalizer[row])) continue;
    throw support::DivergedError(
        "the model's logits are not finite while sampling: the weights have diverged, or are not those of "
        "this architecture; lower the learning rate or start from an earlier checkpoint");
  }
  std::vector<SampledToken> tokens(draws.size());
  at::parallel_for(0, static_cast<std::int64_t>(draws.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const auto row = static_cast<std::size_t>(draws[i].logits_row);
      const std::int64_t id = pick({probability + row * vocab, vocab}, draws[i].uniform, sampling);
      tokens[i] = {id, score[row * vocab + static_cast<std::size_t>(id)] - normalizer[row]};
    }
  });
  return tokens;
}

}  // namespace graft::rollout
