// SPDX-License-Identifier: Apache-2.0
#include "train/sft.h"

#include <ATen/ops/div.h>
#include <ATen/ops/neg.h>

#include <algorithm>
#include <chrono>

#include "objective/logprobs.h"
#include "train/schedule.h"
#include "train/update.h"

namespace graft::train {

SftTrainer::SftTrainer(model::Model& model, adapt::Adapter& adapter, const PromptSource& prompts,
                       const config::RunConfig& config)
    : model_(model),
      prompts_(prompts),
      config_(config),
      optimizer_(make_optimizer(adapter, config.optimizer)) {
  state_.seed = static_cast<std::uint64_t>(config.seed);
}

nlohmann::ordered_json SftTrainer::step() {
  const auto start = std::chrono::steady_clock::now();
  const auto batch = static_cast<std::size_t>(config_.train.batch_size);
  const std::vector<PromptItem> items = prompts_.draw(batch, &state_.samples_drawn, &state_.samples_skipped);
  std::vector<std::vector<std::int64_t>> answers;
  std::int64_t answer_tokens = 0, prompt_tokens = 0;
  for (const PromptItem& item : items) {
    answers.push_back(answer_ids(item));
    answer_tokens += static_cast<std::int64_t>(answers.back().size());
    prompt_tokens += static_cast<std::int64_t>(item.prompt.ids.size());
  }

  const auto micro = static_cast<std::size_t>(config_.train.samples_per_micro_batch());
  double loss_sum = 0.0, entropy_sum = 0.0;
  for (std::size_t first = 0; first < items.size(); first += micro) {
    seed_dropout(state_, first);
    std::vector<objective::ScoredGroup> groups;
    std::vector<const model::Prompt*> prompts;
    for (std::size_t i = first; i < std::min(first + micro, items.size()); ++i) {
      prompts.push_back(&items[i].prompt);
      groups.push_back({&items[i].prompt, {}, {answers[i]}});
    }
    objective::LogprobOptions options;
    options.with_entropy = true;
    options.pass.is_training = true;
    const std::vector<at::Tensor> features = encode_prompt_images(model_, prompts, options.pass);
    for (std::size_t g = 0; g < groups.size(); ++g) groups[g].image_values = features[g];
    const objective::TokenLogprobs scored = objective::completion_logprobs(model_, groups, options);
    const at::Tensor loss = scored.logprobs.sum().neg().div(static_cast<double>(answer_tokens));
    const double value = loss.item<double>();
    require_finite(state_, "loss", value);
    loss.backward();
    loss_sum += value;
    entropy_sum += scored.entropy.sum().item<double>();
  }
  const double learning_rate =
      learning_rate_at(config_.optimizer.schedule, config_.optimizer.learning_rate, state_.step,
                       config_.optimizer.warmup_steps, config_.train.steps);
  const double grad_norm = apply_gradients(optimizer_, state_, config_.optimizer, learning_rate);

  ++state_.step;
  state_.num_tokens += prompt_tokens + answer_tokens;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  nlohmann::ordered_json metrics;
  metrics["step"] = state_.step;
  metrics["num_tokens"] = state_.num_tokens;
  metrics["loss"] = loss_sum;
  metrics["grad_norm"] = grad_norm;
  metrics["learning_rate"] = learning_rate;
  metrics["entropy"] = entropy_sum / static_cast<double>(answer_tokens);
  metrics["samples_skipped"] = state_.samples_skipped;
  metrics["epoch"] = static_cast<double>(state_.samples_drawn) / static_cast<double>(prompts_.size());
  metrics["step_time"] = seconds;
  metrics["speed/tokens_per_second"] = static_cast<double>(prompt_tokens + answer_tokens) / seconds;
  return metrics;
}

std::vector<std::int64_t> SftTrainer::answer_ids(const PromptItem& item) const {
  std::vector<std::int64_t> ids =
      model_.tokenizer().encode(data::completion_text(*item.sample, config_.data.answer_template));
  ids.push_back(model_.stop_ids().front());  // the answer ends where generation shall stop
  return ids;
}

}  // namespace graft::train
