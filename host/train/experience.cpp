// SPDX-License-Identifier: Apache-2.0
#include "train/experience.h"

#include <algorithm>

#include "train/grpo_metrics.h"
#include "train/micro_batches.h"

namespace graft::train {

namespace {

void pad_like_vlm_r1(Experience& experience, const MicroBatch& micro, std::int64_t eos_id,
                     std::int64_t pad_id) {
  const std::size_t begin = micro.first * experience.num_generations;
  const std::size_t end = begin + micro.count * experience.num_generations;
  std::size_t longest = 0;
  for (std::size_t i = begin; i < end; ++i) longest = std::max(longest, experience.scored_ids[i].size());
  for (std::size_t i = begin; i < end; ++i) {
    std::vector<std::int64_t>& ids = experience.scored_ids[i];
    if (std::find(ids.begin(), ids.end(), eos_id) == ids.end()) ids.resize(longest, pad_id);
  }
}

// Flat tokens that each prompt with its completions has in a pass: the last token of a completion predicts nothing.
std::vector<std::int64_t> prompt_tokens(const Experience& experience) {
  std::vector<std::int64_t> tokens;
  for (std::size_t p = 0; p < experience.items.size(); ++p) {
    std::size_t count = experience.items[p].prompt.ids.size();
    for (std::size_t g = 0; g < experience.num_generations; ++g) {
      const std::size_t length = experience.scored_ids[p * experience.num_generations + g].size();
      count += length > 0 ? length - 1 : 0;
    }
    tokens.push_back(static_cast<std::int64_t>(count));
  }
  return tokens;
}

}  // namespace

void split_experience(Experience& experience, const config::RunConfig& config, std::int64_t eos_id,
                      std::int64_t pad_id) {
  experience.num_generations = static_cast<std::size_t>(config.rollout.num_generations);
  for (const rollout::Completion& completion : experience.rollouts.completions) {
    experience.scored_ids.push_back(completion.ids);
  }
  experience.included =
      included_completions(experience.rollouts, config.objective.mask_truncated_completions);

  const auto step = static_cast<std::size_t>(config.train.prompts_per_step);
  const auto size = static_cast<std::size_t>(config.train.prompts_per_micro_batch());
  const std::vector<std::int64_t> tokens = prompt_tokens(experience);
  for (std::size_t begin = 0; begin < experience.items.size(); begin += step) {
    MiniBatch mini;
    mini.first = begin;
    mini.count = std::min(step, experience.items.size() - begin);
    for (const Range& part : split_micro_batches(std::span(tokens).subspan(begin, mini.count),
                                                 config.train.micro_batch_tokens, size)) {
      mini.micro_batches.push_back({begin + part.first, part.count, {}, {}});
      if (config.objective.parity == "vlm_r1") {
        pad_like_vlm_r1(experience, mini.micro_batches.back(), eos_id, pad_id);
      }
    }
    mini.completions = static_cast<std::int64_t>(mini.count * experience.num_generations);
    for (std::size_t i = begin * experience.num_generations;
         i < (begin + mini.count) * experience.num_generations; ++i) {
      if (experience.included[i]) mini.tokens += static_cast<std::int64_t>(experience.scored_ids[i].size());
    }
    experience.mean_step_tokens += static_cast<double>(mini.tokens);
    experience.mini_batches.push_back(std::move(mini));
  }
  if (!experience.mini_batches.empty()) {
    experience.mean_step_tokens /= static_cast<double>(experience.mini_batches.size());
  }
}

}  // namespace graft::train
