// SPDX-License-Identifier: Apache-2.0
// What a GRPO step takes, without taking it: its passes run on tensors that have sizes and no values, through the code of the real
// step (family, strategy, recomputation, packed attention, chunked head, KV cache), and a Ledger counts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "memory/ledger.h"
#include "memory/recompute.h"
#include "model/model.h"

namespace graft::memory {

// Neighbouring prompts, with all their completions, in one forward and backward pass.
struct Pass {
  std::size_t first = 0, count = 0;
};

// A step: sizes as the configuration has them, completions at their full length.
struct Workload {
  std::vector<const model::Prompt*> prompts;  // of one rollout
  std::vector<Pass> passes;                   // of one optimizer step
  std::int64_t num_generations = 1;
  std::int64_t completion_length = 1;
  bool with_rollout = true;        // completions are sampled
  bool with_reference = false;     // their log-probabilities under the reference policy are needed
  bool base_is_reference = false;  // with adapters off; else with a copy of the initial trained tensors
  bool scores_old = false;         // a pass for old log-probabilities
};

struct PhaseEstimate {
  std::string name;  // "rollout", "reference", "update"
  std::int64_t peak = 0;
  std::map<std::string, std::int64_t> parts;  // bytes by kind at the peak; their sum
};

struct Estimate {
  std::vector<PhaseEstimate> phases;
  std::int64_t weights = 0, adapters = 0, gradients = 0, optimizer = 0, reference = 0;
  std::int64_t kv_cache = 0;
  std::int64_t head = 0;  // at its peak, forward or backward, without the hidden states
  // What the largest pass keeps for backward, by outermost segment; "between segments" is the rest of it.
  std::map<std::string, std::int64_t> activations;

  [[nodiscard]] std::int64_t peak() const;
  [[nodiscard]] std::int64_t activation_bytes() const;
};

// A process has one of them alive at a time. `model` must have been opened without values within `ledger`, and the adapter attached
// to it; the model's segment hook is replaced. Control thread. Throws what the passes throw: a family or strategy that reads values
// of tensors in them cannot be estimated (PluginError).
[[nodiscard]] Estimate estimate(Ledger& ledger, model::Model& model, adapt::Adapter& adapter,
                                const std::vector<Decision>& decisions, const Workload& workload);

}  // namespace graft::memory
