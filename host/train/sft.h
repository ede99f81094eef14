// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "config/run_config.h"
#include "model/model.h"
#include "train/checkpoint.h"
#include "train/prompt_source.h"

namespace graft::train {

// Supervised fine-tuning: maximises the log-likelihood of the answer's tokens, its end token included, and of nothing else;
// the mean runs over the answer tokens of the whole step. The answer is the text of data.answer_template. Control thread
// only; the objects given must outlive the trainer.
class SftTrainer {
 public:
  SftTrainer(model::Model& model, adapt::Adapter& adapter, const PromptSource& prompts,
             const config::RunConfig& config);

  // One optimizer step over train.batch_size samples; returns its metrics (loss, grad_norm, learning_rate, …).
  [[nodiscard]] nlohmann::ordered_json step();

  [[nodiscard]] RunState& state() { return state_; }
  [[nodiscard]] adapt::AdamW& optimizer() { return optimizer_; }

 private:
  [[nodiscard]] std::vector<std::int64_t> answer_ids(const PromptItem& item) const;

  model::Model& model_;
  const PromptSource& prompts_;
  config::RunConfig config_;
  adapt::AdamW optimizer_;
  RunState state_;
};

}  // namespace graft::train
