// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"

namespace graft::rollout {

struct SamplingOptions {
  std::int64_t num_generations = 1;          // completions per prompt
  std::int64_t max_completion_length = 256;  // tokens, the stop token included
  double temperature = 1.0;                  // 0: greedy
  std::int64_t top_k = 0;                    // 0: off
  double top_p = 1.0;                        // 1: off
  bool ban_image_tokens = true;  // image placeholders are never sampled (and not counted in logprobs)
  std::vector<std::int64_t> stop_ids;
  // Every draw is keyed by (seed, step, prompt_keys[p], sample, position), so a rollout does not depend on
  // how prompts are batched.
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
};

struct Completion {
  std::size_t prompt = 0;         // index into the prompts given
  std::vector<std::int64_t> ids;  // the stop token included
  std::vector<float>
      logprobs;  // of each sampled token under the distribution scored in training: the softmax of
                 // logits / temperature with banned tokens left out; top-k and top-p do not enter
  bool is_finished = false;  // ended by a stop token
  std::string text;          // special tokens left out
  std::string raw_text;      // with special tokens
};

struct Rollouts {
  std::vector<Completion> completions;  // prompt by prompt, num_generations each
  std::int64_t prompt_tokens = 0;       // each prompt once
  std::int64_t completion_tokens = 0;
};

// Samples completions: each image is encoded once, each prompt prefilled once and its keys and values shared
// by its completions, finished rows dropped. Evaluation mode, adapters on and unmerged, no autograd.
// Deterministic. `cancelled` is polled once per token; when it returns true support::Interrupted is thrown.
// image_values[p] are the vision features of prompt p (encode_images), undefined if it has no image.
[[nodiscard]] Rollouts generate(const model::Model& model, std::span<const model::Prompt* const> prompts,
                                std::span<const at::Tensor> image_values,
                                std::span<const std::uint64_t> prompt_keys, const SamplingOptions& options,
                                const std::function<bool()>& cancelled = {});

}  // namespace graft::rollout
