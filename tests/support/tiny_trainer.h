// SPDX-License-Identifier: Apache-2.0
// A GRPO trainer over the tiny checkpoint whose completions and rewards are given by the test.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "rewards/rewards.h"
#include "support/random.h"
#include "tests/support/tiny_model.h"
#include "train/grpo.h"

namespace graft::tests {

// The registry of the tiny model with the rewards of tests/train/plugins.
inline plugin::Registry& scripted_registry() {
  static plugin::Registry& registry = [&]() -> plugin::Registry& {
    tiny_registry().load(std::filesystem::path(GRAFT_BINARY_DIR) / "tests/plugins/scripted_rewards.so");
    return tiny_registry();
  }();
  return registry;
}

struct TinyQuestion {
  std::string text;
  std::string image;  // of the fixture: "image", "image_resize", or "" for none
};

inline data::Sample tiny_sample(const TinyQuestion& question) {
  data::Sample sample;
  sample.id = question.text;
  sample.question = question.text;
  sample.record = "{}";
  sample.file = "test.jsonl";
  if (!question.image.empty()) {
    sample.images = {tiny_directory() / "golden" / (question.image + ".png")};
  }
  sample.turns = {{"user", question.text, static_cast<std::int64_t>(sample.images.size())}};
  return sample;
}

// Owns everything that a GrpoTrainer refers to. `adapter`: a PEFT directory to start from; empty: LoRA of rank 2 on all
// linear layers of the language model.
struct TinyTrainer {
  TinyTrainer(const config::RunConfig& config, const std::vector<TinyQuestion>& questions,
              train::GrpoHooks hooks, const std::filesystem::path& adapter_directory = {})
      : model([] {
          (void)scripted_registry();
          return open_tiny_model();
        }()),
        adapter(
            adapt::Adapter::attach(*model, scripted_registry(), attach_options(config, adapter_directory))),
        rewards(scripted_registry(), {{"scripted_a", weight(config, 0), nlohmann::json::object()},
                                      {"scripted_b", weight(config, 1), nlohmann::json::object()}}),
        prompts(*model, config.data, samples(questions), static_cast<std::uint64_t>(config.seed)),
        trainer(*model, *adapter, rewards, prompts, config, std::move(hooks)) {}

  static adapt::AttachOptions attach_options(const config::RunConfig& config,
                                             const std::filesystem::path& directory) {
    adapt::AttachOptions options;
    options.strategy = "lora";
    options.params = {{"r", 2}, {"alpha", 4}};
    options.targets.all_linear = true;
    options.targets.components = {adapt::component_code("language")};
    options.adapter = directory;
    options.seed = static_cast<std::uint64_t>(config.seed);
    return options;
  }
  static double weight(const config::RunConfig& config, std::size_t index) {
    return config.rewards.size() > index ? config.rewards[index].weight : 1.0;
  }
  static std::vector<data::Sample> samples(const std::vector<TinyQuestion>& questions) {
    std::vector<data::Sample> made;
    for (const TinyQuestion& question : questions) made.push_back(tiny_sample(question));
    return made;
  }

  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
  rewards::RewardSet rewards;
  train::PromptSource prompts;
  train::GrpoTrainer trainer;
};

// A finished rollout of given token ids, prompt by prompt.
inline rollout::Rollouts scripted_rollouts(std::span<const train::PromptItem> prompts,
                                           const std::vector<std::vector<std::int64_t>>& completions,
                                           const std::vector<std::int64_t>& stop_ids) {
  rollout::Rollouts rollouts;
  const std::size_t group = completions.size() / prompts.size();
  for (std::size_t i = 0; i < completions.size(); ++i) {
    rollout::Completion completion;
    completion.prompt = i / group;
    completion.ids = completions[i];
    completion.is_finished =
        std::find(stop_ids.begin(), stop_ids.end(), completion.ids.back()) != stop_ids.end();
    rollouts.completion_tokens += static_cast<std::int64_t>(completion.ids.size());
    rollouts.completions.push_back(std::move(completion));
  }
  for (const train::PromptItem& item : prompts) {
    rollouts.prompt_tokens += static_cast<std::int64_t>(item.prompt.ids.size());
  }
  return rollouts;
}

}  // namespace graft::tests
