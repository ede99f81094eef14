// SPDX-License-Identifier: Apache-2.0
#include "train/sft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/div.h>
#include <ATen/ops/neg.h>

#include <algorithm>
#include <chrono>

#include "objective/logprobs.h"
#include "support/error.h"
#include "support/interrupt.h"
#include "train/evaluate.h"
#include "train/micro_batches.h"
#include "train/phases.h"
#include "train/schedule.h"
#include "train/update.h"

namespace graft::train {

namespace {

// Samples with the token ids of their answers.
struct Lesson {
  std::vector<PromptItem> items;
  std::vector<std::vector<std::int64_t>> answers;
  std::vector<std::int64_t> tokens;  // of each sample in a pass; the last token of an answer predicts nothing
  std::int64_t prompt_tokens = 0, answer_tokens = 0;
};

Lesson make_lesson(const model::Model& model, std::vector<PromptItem> items,
                   const std::string& answer_template) {
  Lesson lesson;
  for (const PromptItem& item : items) {
    lesson.answers.push_back(answer_ids(model, item, answer_template));
    const auto prompt = static_cast<std::int64_t>(item.prompt.ids.size());
    const auto answer = static_cast<std::int64_t>(lesson.answers.back().size());
    lesson.tokens.push_back(prompt + std::max<std::int64_t>(answer - 1, 0));
    lesson.prompt_tokens += prompt;
    lesson.answer_tokens += answer;
  }
  lesson.items = std::move(items);
  return lesson;
}

bool has_images(const Lesson& lesson, const Range& part) {
  const auto first = lesson.items.begin() + static_cast<std::ptrdiff_t>(part.first);
  return std::any_of(first, first + static_cast<std::ptrdiff_t>(part.count),
                     [](const PromptItem& item) { return !item.prompt.images.empty(); });
}

objective::TokenLogprobs score(const model::Model& model, const Lesson& lesson, const Range& part,
                               bool is_training) {
  objective::LogprobOptions options;
  options.with_entropy = true;
  options.with_correct = true;
  options.pass.is_training = is_training;
  options.pass.allow_recompute = is_training;
  std::vector<objective::ScoredGroup> groups;
  std::vector<const model::Prompt*> prompts;
  for (std::size_t i = part.first; i < part.first + part.count; ++i) {
    prompts.push_back(&lesson.items[i].prompt);
    groups.push_back({&lesson.items[i].prompt, {}, {lesson.answers[i]}});
  }
  const std::vector<at::Tensor> features = encode_prompt_images(model, prompts, options.pass);
  for (std::size_t g = 0; g < groups.size(); ++g) groups[g].image_values = features[g];
  return objective::completion_logprobs(model, groups, options);
}

void add(AnswerSums& sums, const objective::TokenLogprobs& scored) {
  sums.negative_logprob -= scored.logprobs.detach().sum(at::kDouble).item<double>();
  sums.entropy += scored.entropy.sum(at::kDouble).item<double>();
  sums.correct += scored.correct.sum().item<std::int64_t>();
  sums.tokens += scored.logprobs.size(0);
}

}  // namespace

std::vector<std::int64_t> answer_ids(const model::Model& model, const PromptItem& item,
                                     const std::string& answer_template) {
  std::vector<std::int64_t> ids =
      model.tokenizer().encode(data::completion_text(*item.sample, answer_template));
  if (!model.stop_ids().empty()) ids.push_back(model.stop_ids().front());  // ends where generation shall stop
  return ids;
}

SftTrainer::SftTrainer(model::Model& model, adapt::Adapter& adapter, const PromptSource& prompts,
                       const config::RunConfig& config)
    : model_(model),
      adapter_(adapter),
      prompts_(prompts),
      config_(config),
      optimizer_(make_optimizer(adapter, config.optimizer)),
      guard_(model, adapter, prompts.has_images()) {
  state_.seed = static_cast<std::uint64_t>(config.seed);
}

nlohmann::ordered_json SftTrainer::step() {
  Phases phases;
  AnswerSums sums;
  Lesson lesson;
  double grad_norm = 0.0;
  const double learning_rate =
      learning_rate_at(config_.optimizer.schedule, config_.optimizer.learning_rate, state_.step,
                       config_.optimizer.warmup_steps, config_.train.steps);
  phases.run("update", [&] {
    lesson = make_lesson(model_,
                         prompts_.draw(static_cast<std::size_t>(config_.train.batch_size),
                                       &state_.samples_drawn, &state_.samples_skipped),
                         config_.data.answer_template);
    const auto size = static_cast<std::size_t>(config_.train.samples_per_micro_batch());
    for (const Range& part : split_micro_batches(lesson.tokens, config_.train.micro_batch_tokens, size)) {
      seed_dropout(state_, part.first);
      const objective::TokenLogprobs scored = guard_.watch(
          has_images(lesson, part), [&] { return score(model_, lesson, part, /*is_training=*/true); });
      add(sums, scored);
      require_finite(state_, "loss", sums.negative_logprob);
      guard_.backward(scored.logprobs.sum().neg().div(static_cast<double>(lesson.answer_tokens)));
    }
    grad_norm = apply_gradients(adapter_, optimizer_, guard_, state_, config_.optimizer, learning_rate,
                                config_.train.steps);
  });
  ++state_.step;
  state_.num_tokens += lesson.prompt_tokens + lesson.answer_tokens;

  const auto tokens = static_cast<double>(std::max<std::int64_t>(1, sums.tokens));
  nlohmann::ordered_json metrics;
  metrics["step"] = state_.step;
  metrics["num_tokens"] = state_.num_tokens;
  metrics["loss"] = sums.negative_logprob / tokens;
  metrics["mean_token_accuracy"] = static_cast<double>(sums.correct) / tokens;
  metrics["entropy"] = sums.entropy / tokens;
  metrics["grad_norm"] = grad_norm;
  metrics["learning_rate"] = learning_rate;
  metrics["samples_skipped"] = state_.samples_skipped;
  metrics["epoch"] = static_cast<double>(state_.samples_drawn) / static_cast<double>(prompts_.size());
  metrics["step_time"] = phases.total();
  phases.add_to(metrics);
  metrics["speed/tokens_per_second"] =
      static_cast<double>(lesson.prompt_tokens + lesson.answer_tokens) / phases.total();
  return metrics;
}

nlohmann::ordered_json validate(const model::Model& model, const PromptSource& prompts,
                                const config::RunConfig& config) {
  const at::NoGradGuard no_grad;
  AnswerSums sums;
  const std::size_t total = evaluated_samples(prompts, config.eval);
  const auto batch = static_cast<std::size_t>(config.eval.batch_size);
  for (std::size_t first = 0; first < total; first += batch) {
    if (support::interrupt_requested()) throw support::Interrupted("a signal came");
    std::vector<PromptItem> items;
    for (std::size_t i = first; i < std::min(first + batch, total); ++i) {
      if (std::optional<PromptItem> item = prompts.usable(i)) items.push_back(std::move(*item));
    }
    const Lesson lesson = make_lesson(model, std::move(items), config.data.answer_template);
    for (const Range& part : split_micro_batches(lesson.tokens, config.train.micro_batch_tokens, batch)) {
      add(sums, score(model, lesson, part, /*is_training=*/false));
    }
  }
  const auto mean = [&](double sum) {
    return sums.tokens > 0 ? nlohmann::ordered_json(sum / static_cast<double>(sums.tokens))
                           : nlohmann::ordered_json(nullptr);
  };
  return {{"loss", mean(sums.negative_logprob)},
          {"mean_token_accuracy", mean(static_cast<double>(sums.correct))},
          {"entropy", mean(sums.entropy)},
          {"answer_tokens", sums.tokens}};
}

std::vector<std::string> validation_metrics() {
  return {"loss", "mean_token_accuracy", "entropy"};
}

}  // namespace graft::train
