// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace graft::objective {

// A prompt with the completions to score.
struct ScoredGroup {
  const model::Prompt* prompt = nullptr;
  at::Tensor image_values;  // features of the prompt's images, undefined if none
  std::vector<std::span<const std::int64_t>> completions;  // token ids
};

struct LogprobOptions {
  double temperature = 1.0;       // logits are divided by it
  bool ban_image_tokens = false;  // left out of the softmax
  bool with_entropy = false;
  bool with_correct = false;
  model::PassOptions pass;
  std::int64_t chunk_rows = 0;  // rows of logits alive at once; 0: chunk_rows_for() the vocabulary
};

struct TokenLogprobs {
  at::Tensor logprobs;  // float32 [N], flat over groups and completions, in order; carries autograd if grad
                        // mode is on
  at::Tensor entropy;   // float32 [N], no grad; undefined unless asked for
  at::Tensor correct;   // bool [N]: the token is the model's first choice; undefined unless asked for
  std::vector<std::int64_t> lengths;  // of each completion, flat; their sum is N
};

// Log-probabilities of completion tokens given prompt and past, in one packed pass over all groups (prompt
// forward once per group). The logits of the head exist only chunk_rows rows at a time, in forward and in
// backward (recomputed there).
[[nodiscard]] TokenLogprobs completion_logprobs(const model::Model& model,
                                                std::span<const ScoredGroup> groups,
                                                const LogprobOptions& options);

}  // namespace graft::objective
