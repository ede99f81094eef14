// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace graft::rollout {

// How one token is drawn from a row of logits, in this order: temperature, banned tokens, top-k, top-p. The
// meaning of each is that of transformers' generate().
struct TokenSampling {
  double temperature = 1.0;  // 0: the most probable token, the first of equals
  std::int64_t top_k = 0;    // keeps the k most probable and those as probable as the k-th; 0: off
  double top_p = 1.0;        // keeps the fewest most probable ones whose probabilities reach top_p; 1: off
  std::vector<std::int64_t> banned_ids;
};

struct Draw {
  std::int64_t logits_row;  // which row of the logits
  double uniform;           // in [0, 1): selects the token by inverting the distribution function
};

struct SampledToken {
  std::int64_t id;
  // log softmax of logits / temperature (1 if it is 0) without the banned tokens; top-k and top-p aside
  float logprob;
};

// One token per draw from logits [M, V] (any float dtype, any device). The result depends neither on the
// number of threads nor on the other rows. Throws support::DivergedError if a row holds NaN or infinities.
[[nodiscard]] std::vector<SampledToken> sample_tokens(const at::Tensor& logits, std::span<const Draw> draws,
                                                      const TokenSampling& sampling);

}  // namespace graft::rollout
