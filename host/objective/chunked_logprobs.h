// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace graft::objective {

// Hidden rows [n, D] -> logits [n, V], a fresh tensor. Runs again in backward, on an autograd thread. Trained
// tensors that it uses are found with model::TouchedTensors.
using Head = std::function<at::Tensor(const at::Tensor&)>;

struct ChunkedOptions {
  double temperature = 1.0;              // logits are divided by it
  std::vector<std::int64_t> banned_ids;  // left out of the softmax
  bool with_entropy = false;
  bool with_correct = false;
  bool has_random_head = false;  // the head draws random numbers (dropout): the same ones in backward
  std::int64_t chunk_rows = 256;
};

// Rows of logits of `vocab_size` columns to have at once: as many as keep three float32 arrays of them within 56 MiB, at least 16 and at most
// 256. Fewer would read the head's weight too often for what its products do with it.
[[nodiscard]] std::int64_t chunk_rows_for(std::int64_t vocab_size);

struct ChunkedLogprobs {
  at::Tensor logprobs;  // [N], with autograd if grad mode is on and hidden or the head are trained
  at::Tensor entropy;   // [N], no autograd; undefined unless asked for
  at::Tensor
      correct;  // bool [N]: the id is the most likely one (the lowest of equals); undefined unless asked for
};

// log softmax(head(hidden) / temperature)[ids], hidden [N, D], ids int64 [N], in float32 (float64 for
// float64). Logits exist chunk_rows rows at a time: at most three arrays of [chunk_rows, V]. Kept for
// backward: hidden, ids and a number a row.
[[nodiscard]] ChunkedLogprobs chunked_logprobs(const at::Tensor& hidden, const at::Tensor& ids,
                                               const Head& head, const ChunkedOptions& options);

}  // namespace graft::objective
