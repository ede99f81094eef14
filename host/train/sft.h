// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "config/run_config.h"
#include "model/model.h"
#include "train/checkpoint.h"
#include "train/gradient_guard.h"
#include "train/prompt_source.h"

namespace graft::train {

// The tokens that supervised training teaches for a sample: data.answer_template filled in, and the end of the turn.
[[nodiscard]] std::vector<std::int64_t> answer_ids(const model::Model& model, const PromptItem& item,
                                                   const std::string& answer_template);

// Sums over the answer tokens of some samples.
struct AnswerSums {
  double negative_logprob = 0.0, entropy = 0.0;
  std::int64_t correct = 0;  // tokens that are the model's first choice
  std::int64_t tokens = 0;
};

// Supervised fine-tuning: maximises the log-likelihood of the answer's tokens, its end token included, and of nothing else;
// the mean runs over the answer tokens of the whole step. The answer is the text of data.answer_template. A step is split into
// passes of train.micro_batch_size samples or train.micro_batch_tokens tokens; samples lie in a pass one after the other, without
// padding, so the split does not change the result. Control thread only; the objects given must outlive the trainer.
class SftTrainer {
 public:
  SftTrainer(model::Model& model, adapt::Adapter& adapter, const PromptSource& prompts,
             const config::RunConfig& config);

  // One optimizer step over train.batch_size samples; returns its metrics under the names of TRL's SFTTrainer: loss,
  // mean_token_accuracy, entropy, num_tokens, grad_norm, learning_rate, … Throws as GrpoTrainer::step() does.
  [[nodiscard]] nlohmann::ordered_json step();

  [[nodiscard]] RunState& state() { return state_; }
  [[nodiscard]] adapt::AdamW& optimizer() { return optimizer_; }

 private:
  model::Model& model_;
  adapt::Adapter& adapter_;
  const PromptSource& prompts_;
  config::RunConfig config_;
  adapt::AdamW optimizer_;
  GradientGuard guard_;
  RunState state_;
};

// Loss and token accuracy over the usable ones of the first eval.samples samples of `prompts`, as SftTrainer computes them, without
// dropout: {"loss", "mean_token_accuracy", "entropy", "answer_tokens"}; means are null without a token. support::Interrupted on
// a signal.
[[nodiscard]] nlohmann::ordered_json validate(const model::Model& model, const PromptSource& prompts,
                                              const config::RunConfig& config);
// The names that validate() gives and that can tell a best model.
[[nodiscard]] std::vector<std::string> validation_metrics();

}  // namespace graft::train
