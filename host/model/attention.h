// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "model/hooks.h"

namespace graft::model {

// One prompt and its completions, packed flat: prompt tokens, then the tokens of completion 0, of completion
// 1, …
struct PackedGroup {
  std::int64_t prompt_length = 0;
  std::vector<std::int64_t> completion_lengths;  // may be empty (a prompt alone) and may hold zeros
};

// Attention of training and scoring passes: prompt tokens attend causally to their prompt, completion tokens
// to the prompt and to their own past. The prompt's keys and values are computed once per group and shared;
// exact, one autograd graph. Groups follow each other in the flat token order.
[[nodiscard]] std::shared_ptr<SequenceAttention> packed_attention(std::vector<PackedGroup> groups);

// Attention within consecutive blocks in both directions (vision). q [T, H, d], k, v [T, Hkv, d].
[[nodiscard]] at::Tensor block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                         double scale, const std::vector<std::int64_t>& block_ends);

}  // namespace graft::model
