// SPDX-License-Identifier: Apache-2.0
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "model/kv_cache.h"
#include "model/packed_input.h"
#include "rollout/rollout.h"
#include "rollout/sampling.h"
#include "support/error.h"
#include "support/random.h"
#include "support/strings.h"

namespace graft::rollout {

namespace {

constexpr model::PassOptions kPass = {
    .is_training = false, .adapters_enabled = true, .allow_recompute = false};

void check(std::span<const model::Prompt* const> prompts, std::span<const at::Tensor> image_values,
           std::span<const std::uint64_t> prompt_keys, const SamplingOptions& options) {
  if (prompts.size() != image_values.size() || prompts.size() != prompt_keys.size()) {
    throw std::invalid_argument("generate: there must be one entry of image features and one key per prompt");
  }
  const auto require = [](bool is_valid, const char* key, auto value, const char* expected) {
    if (!is_valid) throw support::UserError(support::cat(key, " is ", value, "; expected ", expected));
  };
  require(options.num_generations >= 1, "num_generations", options.num_generations, "at least 1");
  require(options.max_completion_length >= 1, "max_completion_length", options.max_completion_length,
          "at least 1");
  require(options.temperature >= 0.0, "temperature", options.temperature, "0 (greedy) or more");
  require(options.top_k >= 0, "top_k", options.top_k, "0 (off) or more");
  require(options.top_p > 0.0 && options.top_p <= 1.0, "top_p", options.top_p,
          "more than 0 and at most 1 (off)");
}

// One call of generate(): prompts are prefilled, then all active rows grow by a token at a time.
class Generation {
 public:
  Generation(const model::Model& model, std::span<const model::Prompt* const> prompts,
             std::span<const std::uint64_t> prompt_keys, const SamplingOptions& options)
      : model_(model),
        prompts_(prompts),
        prompt_keys_(prompt_keys),
        options_(options),
        cache_(model.attention_layers(), lengths(prompts)) {
    sampling_ = {options.temperature, options.top_k, options.top_p, {}};
    if (options.ban_image_tokens) sampling_.banned_ids = model.image_token_ids();
    for (std::size_t row = 0; row < prompts.size() * group_size(); ++row) {
      completions_.emplace_back().prompt = row / group_size();
      active_.push_back(static_cast<std::int64_t>(row));
    }
  }

  void run(std::span<const at::Tensor> image_values, const std::function<bool()>& cancelled) {
    at::Tensor logits = prefill(image_values);
    for (std::int64_t position = 0;; ++position) {
      if (cancelled && cancelled()) throw support::Interrupted("interrupted while sampling completions");
      append_tokens(logits, position);
      const bool is_last = position + 1 == options_.max_completion_length;
      if (is_last || active_.empty()) return;
      if (position == 0) cache_.start_rows(options_.num_generations, options_.max_completion_length - 1);
      cache_.keep(active_);
      logits = step(position);
      cache_.advance();
    }
  }

  [[nodiscard]] Rollouts finish() {
    Rollouts rollouts;
    for (const model::Prompt* prompt : prompts_)
      rollouts.prompt_tokens += static_cast<std::int64_t>(prompt->ids.size());
    for (Completion& completion : completions_) {
      completion.text = model_.tokenizer().decode(completion.ids, /*skip_special=*/true);
      completion.raw_text = model_.tokenizer().decode(completion.ids, /*skip_special=*/false);
      rollouts.completion_tokens += static_cast<std::int64_t>(completion.ids.size());
    }
    rollouts.completions = std::move(completions_);
    return rollouts;
  }

 private:
  static std::vector<std::int64_t> lengths(std::span<const model::Prompt* const> prompts) {
    std::vector<std::int64_t> result;
    for (const model::Prompt* prompt : prompts)
      result.push_back(static_cast<std::int64_t>(prompt->ids.size()));
    return result;
  }

  [[nodiscard]] std::size_t group_size() const { return static_cast<std::size_t>(options_.num_generations); }
  Completion& completion(std::int64_t row) { return completions_[static_cast<std::size_t>(row)]; }

  // Logits [prompts, V] of the token after each prompt.
  at::Tensor prefill(std::span<const at::Tensor> image_values) {
    std::vector<model::PackedSequences> sequences;
    std::vector<std::int64_t> last_rows;
    std::int64_t end = 0;
    for (std::size_t p = 0; p < prompts_.size(); ++p) {
      sequences.push_back({prompts_[p], image_values[p], {}});
      end += static_cast<std::int64_t>(prompts_[p]->ids.size());
      last_rows.push_back(end - 1);
    }
    const auto input = model::pack_input(sequences, model_.position_rank());
    const at::Tensor hidden = model_.decode(input, cache_.prefill(), kPass);  // [T, D]
    return model_.head(hidden.index_select(0, at::tensor(last_rows, at::kLong).to(hidden.device())), kPass);
  }

  // Feeds the newest token of each active row, the one at `position` of its completion; logits [active rows,
  // V].
  at::Tensor step(std::int64_t position) {
    std::vector<std::int64_t> ids, positions;
    for (const std::int64_t row : active_) {
      ids.push_back(completion(row).ids.back());
      positions.push_back(prompts_[completion(row).prompt]->next_position + position);
    }
    model::DecoderInput input;
    input.ids = at::tensor(ids, at::kLong);
    input.positions =
        at::tensor(positions, at::kLong).expand({static_cast<std::int64_t>(model_.position_rank()), -1});
    return model_.head(model_.decode(input, cache_.step(), kPass), kPass);
  }

  // Samples the token at `position` of each active row and ends the rows that stop there.
  void append_tokens(const at::Tensor& logits, std::int64_t position) {
    std::vector<Draw> draws;
    for (std::size_t i = 0; i < active_.size(); ++i) {
      const std::size_t row = static_cast<std::size_t>(active_[i]), prompt = completions_[row].prompt;
      support::KeyedRandom random(options_.seed, {options_.step, prompt_keys_[prompt], row % group_size(),
                                                  static_cast<std::uint64_t>(position)});
      draws.push_back({static_cast<std::int64_t>(position == 0 ? prompt : i), random.uniform()});
    }
    const std::vector<SampledToken> tokens = sample_tokens(logits, draws, sampling_);
    std::vector<std::int64_t> still_active;
    for (std::size_t i = 0; i < active_.size(); ++i) {
      Completion& grown = completion(active_[i]);
      grown.ids.push_back(tokens[i].id);
      grown.logprobs.push_back(tokens[i].logprob);
      const auto& stops = options_.stop_ids;
      grown.is_finished = std::find(stops.begin(), stops.end(), tokens[i].id) != stops.end();
      if (!grown.is_finished) still_active.push_back(active_[i]);
    }
    active_ = std::move(still_active);
  }

  const model::Model& model_;
  std::span<const model::Prompt* const> prompts_;
  std::span<const std::uint64_t> prompt_keys_;
  const SamplingOptions& options_;
  TokenSampling sampling_;
  model::KvCache cache_;
  std::vector<Completion> completions_;
  std::vector<std::int64_t> active_;  // rows: prompt * num_generations + sample
};

}  // namespace

Rollouts generate(const model::Model& model, std::span<const model::Prompt* const> prompts,
                  std::span<const at::Tensor> image_values, std::span<const std::uint64_t> prompt_keys,
                  const SamplingOptions& options, const std::function<bool()>& cancelled) {
  check(prompts, image_values, prompt_keys, options);
  if (prompts.empty()) return {};
  const at::NoGradGuard no_grad;
  Generation generation(model, prompts, prompt_keys, options);
  generation.run(image_values, cancelled);
  return generation.finish();
}

}  // namespace graft::rollout
