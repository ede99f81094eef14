// SPDX-License-Identifier: Apache-2.0
// What the checkpointing of Python's stack would have made of a set of trained tensors: "element 0 of tensors does not require grad
// and does not have a grad_fn", or a part of them without gradients and nothing said.
//
// The rule, which accounts for every row that was measured (transformers 4.49.0 with peft 0.14.0, and 5.23.0 with 0.21.2; Qwen2.5-VL,
// LoRA and full fine-tuning, vision frozen or not): reentrant checkpointing runs a layer without autograd and makes its
// output require a gradient only if one of the layer's *inputs* does; weights inside do not count. So a stack of layers whose
// first input needs no gradient, because what lies before it is frozen, is cut off as a whole.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace graft::doctor {

// Trained tensors by where they are used.
struct TrainedParts {
  std::size_t patch_embedding = 0;  // before the vision layers
  std::size_t vision_layers = 0;
  std::size_t projector = 0;        // between vision layers and decoder
  std::size_t token_embedding = 0;  // before the decoder's layers
  std::size_t language_layers = 0;
  std::size_t behind = 0;  // final norm and head
  bool has_images = true;  // of the batch

  [[nodiscard]] std::size_t total() const {
    return patch_embedding + vision_layers + projector + token_embedding + language_layers + behind;
  }
};

// Whose outputs are made to require a gradient, by a hook (enable_input_require_grads and its relatives).
enum class InputHook { kNone, kTokens, kTokensAndVision };

struct Outcome {
  bool raises = false;           // the loss has no grad_fn
  std::size_t lost = 0;          // trained tensors without a gradient, if it does not raise
  bool vision_backward = false;  // backward runs through the vision layers

  bool operator==(const Outcome&) const = default;
};

// Which layers are checkpointed, in the reentrant way.
struct Reentrant {
  bool vision = true, language = true;
};

[[nodiscard]] Outcome outcome_of(const TrainedParts& parts, const Reentrant& checkpointed, InputHook hook);

// A way of training with Python's stack that was measured.
struct HistoricalCase {
  std::string name;  // "transformers 4.49.0, peft 0.14.0, reentrant (the default then)"
  Outcome outcome;
  std::string text;  // what it means, for people
};

// For trained parts of which all layers are checkpointed: the measured ways, one after the other.
[[nodiscard]] std::vector<HistoricalCase> historical_cases(const TrainedParts& parts);

}  // namespace graft::doctor
