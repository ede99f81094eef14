// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "model/hooks.h"

namespace graft::model {

// Keys and values of prompts, and of the completions growing from them. Each prompt's are held once and
// shared by its rows. Rows are completions; row r belongs to prompt `row_prompt[r]`. No autograd.
class KvCache {
 public:
  KvCache(std::uint32_t n_layers, std::vector<std::int64_t> prompt_lengths);
  ~KvCache();

  // For one pass over all prompts, packed one after the other: attends causally and keeps keys and values.
  [[nodiscard]] std::shared_ptr<SequenceAttention> prefill();
  // Opens rows_per_prompt rows on each prompt, with room for `capacity` tokens each. Rows are ordered prompt
  // by prompt.
  void start_rows(std::int64_t rows_per_prompt, std::int64_t capacity);
  // For one pass with one token per active row, in the order of active_rows(): appends its keys and values,
  // attends to the prompt and the row's own past.
  [[nodiscard]] std::shared_ptr<SequenceAttention> step();
  // Ends a step: all active rows are one token longer.
  void advance();
  // Keeps only the rows listed: a subset of active_rows(), in the same order. Their memory is given back now
  // and then.
  void keep(const std::vector<std::int64_t>& rows);
  [[nodiscard]] const std::vector<std::int64_t>& active_rows() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace graft::model
