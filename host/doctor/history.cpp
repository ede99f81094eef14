// SPDX-License-Identifier: Apache-2.0
#include "doctor/history.h"

#include "support/strings.h"

namespace graft::doctor {

using support::cat;

namespace {

std::string describe(const Outcome& outcome, const TrainedParts& parts) {
  std::string text;
  if (outcome.raises) {
    text = "raises \"element 0 of tensors does not require grad and does not have a grad_fn\"";
  } else if (outcome.lost > 0) {
    text = cat("silently loses the gradients of ", outcome.lost, " of ", parts.total(),
               " trained tensors; loss and grad_norm look normal");
  } else {
    text = "all gradients are there";
  }
  const bool is_needed = parts.patch_embedding + parts.vision_layers > 0;
  if (outcome.vision_backward && !is_needed)
    text += ", but backward also runs through the frozen vision tower";
  return text;
}

}  // namespace

Outcome outcome_of(const TrainedParts& parts, const Reentrant& checkpointed, InputHook hook) {
  Outcome out;
  std::size_t reached = 0;  // trained tensors that the loss reaches
  // Vision tower: what enters its layers, what leaves them.
  bool needs_grad = parts.patch_embedding > 0 || hook == InputHook::kTokensAndVision;
  std::size_t kept = parts.patch_embedding;
  if (parts.vision_layers > 0 && (!checkpointed.vision || needs_grad)) {
    kept += parts.vision_layers;
    needs_grad = true;
  }
  out.vision_backward = needs_grad && parts.has_images;
  kept += parts.projector;
  const bool features_need_grad = (needs_grad || parts.projector > 0) && parts.has_images;
  // Decoder: image features stand among the token embeddings.
  bool hidden_needs_grad = features_need_grad || parts.token_embedding > 0 || hook != InputHook::kNone;
  const bool runs = !checkpointed.language || hidden_needs_grad;
  if (runs) {
    reached += (parts.has_images ? kept : 0) + parts.token_embedding + parts.language_layers;
    hidden_needs_grad = hidden_needs_grad || parts.language_layers > 0;
  }
  reached += parts.behind;
  out.raises = parts.behind == 0 && !(runs && hidden_needs_grad);
  out.vision_backward = out.vision_backward && runs && !out.raises;
  if (!out.raises) out.lost = parts.total() - reached;
  return out;
}

std::vector<HistoricalCase> historical_cases(const TrainedParts& parts) {
  const struct {
    const char* name;
    Reentrant checkpointed;
    InputHook hook;
  } kWays[] = {
      {"transformers 4.49 and peft 0.14, gradient_checkpointing (reentrant, the default)",
       {true, true},
       InputHook::kNone},
      {"the same with enable_input_require_grads, which hooks the token embedding",
       {true, true},
       InputHook::kTokens},
      {"the same with use_reentrant=False", {false, false}, InputHook::kNone},
      {"transformers 5.23 and peft 0.21, reentrant, hooks as the libraries set them",
       {true, true},
       InputHook::kTokensAndVision},
      {"the same without hooks", {true, true}, InputHook::kNone},
      {"the same with a hook on the token embedding alone", {true, true}, InputHook::kTokens},
      {"the same with use_reentrant=False, hooks as the libraries set them",
       {false, false},
       InputHook::kTokensAndVision},
  };
  std::vector<HistoricalCase> out;
  for (const auto& way : kWays) {
    const Outcome outcome = outcome_of(parts, way.checkpointed, way.hook);
    out.push_back({way.name, outcome, describe(outcome, parts)});
  }
  return out;
}

}  // namespace graft::doctor
