// SPDX-License-Identifier: Apache-2.0
// The train–rollout mismatch is zero by construction: sampling and training run the same family, weights, adapters and
// softmax. Sampling goes through the KV cache a token at a time, training recomputes everything in one packed pass; the
// log-probabilities of both are equal to rounding, for every family that has a fixture.
//
// Tolerance: 1e-5 absolute on log-probabilities of float32 arithmetic.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <set>

#include "adapt/adapter.h"
#include "model/attention.h"
#include "model/kv_cache.h"
#include "model/packed_input.h"
#include "tests/parity/golden.h"
#include "train/policy_update.h"
#include "train/update.h"

namespace graft::parity {
namespace {

constexpr double kTolerance = 1e-5;

// The model with what adapts it: "lora", the golden adapter; "full", the base weights themselves, all of them trained.
struct Policy {
  Policy(const Fixture& fixture, const std::string& strategy) : model(fixture.open()) {
    if (strategy == "lora") {
      adapter = adapt::Adapter::load(*model, tiny_registry(), fixture.directory() / "golden/adapter");
      return;
    }
    adapt::AttachOptions options;
    options.strategy = strategy;
    for (const model::Param& param : model->params()) {
      const std::set<std::int32_t> known(options.targets.components.begin(),
                                         options.targets.components.end());
      if (!known.contains(param.component)) options.targets.components.push_back(param.component);
    }
    adapter = adapt::Adapter::attach(*model, tiny_registry(), options);
  }
  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
};

// Four prompts of different lengths; in families that take images: one with an image, one without, one with two between
// words, one with a resized image and a system turn.
std::vector<model::Prompt> mixed_prompts(const Fixture& fixture, const model::Model& model) {
  const bool has_images = fixture.has_images();
  std::vector<model::Prompt> prompts;
  prompts.push_back(fixture.prepare_question(model, fixture.question(), "image"));
  prompts.push_back(model.prepare({{"user", "Say something.", 0}}, {}, {}));
  std::vector<image::Image> images;
  if (has_images) images = {fixture.load("image"), fixture.load("image_resize")};
  const std::vector<std::string> names = {"image.png", "image_resize.png"};
  const std::string_view two = has_images ? "Compare <image> with <image>." : "Compare red with blue.";
  const auto n = static_cast<std::int64_t>(images.size());
  prompts.push_back(
      model.prepare({{"user", std::string(two), n}}, images, std::span(names).first(images.size())));
  const std::vector<model::Message> turns = {{"system", "Answer briefly.", 0},
                                             {"user", "A longer question: where is the box?", n > 0 ? 1 : 0}};
  prompts.push_back(has_images ? model.prepare(turns, std::span(images).last(1), std::span(names).last(1))
                               : model.prepare(turns, {}, {}));
  return prompts;
}

config::RunConfig make_config(const Fixture& fixture, double temperature) {
  return config::load_run_config(
             std::nullopt,
             {"model.path=" + fixture.directory().string(), "output_dir=unused", "data.train=unused.jsonl",
              "rewards=[{\"name\":\"format\"}]", "peft.strategy=lora", "rollout.num_generations=3",
              "rollout.max_completion_length=12", "rollout.temperature=" + std::to_string(temperature),
              "rollout.top_p=0.95", "objective.old_logprobs=recompute", "train.prompts_per_step=4",
              "train.micro_prompts=2", "train.steps=1"},
             config::kTrain)
      .config;
}

// A rollout of the prompts, sampled as a run samples it, and made ready for the update.
train::Experience sample_experience(const Fixture& fixture, const model::Model& model,
                                    const config::RunConfig& config) {
  const at::NoGradGuard no_grad;
  train::Experience experience;
  for (model::Prompt& prompt : mixed_prompts(fixture, model)) {
    train::PromptItem& item = experience.items.emplace_back();
    item.index = experience.items.size();
    item.prompt = std::move(prompt);
  }
  std::vector<const model::Prompt*> prompts;
  std::vector<std::uint64_t> keys;
  for (const train::PromptItem& item : experience.items) {
    prompts.push_back(&item.prompt);
    keys.push_back(item.index);
  }
  experience.image_values = model::encode_prompt_images(model, prompts, {});
  rollout::SamplingOptions options = train::sampling_options(model, config);
  // A token that one row draws in the middle ends others early too: rows of different lengths.
  const auto first = rollout::generate(model, prompts, experience.image_values, keys, options);
  options.stop_ids.push_back(first.completions.at(4).ids.at(5));
  experience.rollouts = rollout::generate(model, prompts, experience.image_values, keys, options);
  experience.advantages.advantages.assign(experience.rollouts.completions.size(), 0.0);
  train::split_experience(experience, config, model.eos_id(), model.pad_id());
  return experience;
}

at::Tensor recorded_logprobs(const train::Experience& experience) {
  std::vector<float> flat;
  for (const rollout::Completion& completion : experience.rollouts.completions) {
    flat.insert(flat.end(), completion.logprobs.begin(), completion.logprobs.end());
  }
  return at::tensor(flat, at::kFloat);
}

class Mismatch : public Parity {
 protected:
  void expect_no_mismatch(const std::string& strategy, double temperature) const {
    const Policy policy(*this, strategy);
    const config::RunConfig config = make_config(*this, temperature);
    train::Experience experience = sample_experience(*this, *policy.model, config);
    std::set<std::size_t> lengths;
    for (const rollout::Completion& completion : experience.rollouts.completions)
      lengths.insert(completion.ids.size());
    EXPECT_GT(lengths.size(), 1U) << "all completions have one length";

    const at::Tensor recorded = recorded_logprobs(experience);
    train::PolicyUpdate update(*policy.model, *policy.adapter, config);
    update.score_old(experience);  // without gradients
    ASSERT_EQ(experience.mini_batches.size(), 1U);
    train::MiniBatch& mini = experience.mini_batches[0];
    ASSERT_EQ(mini.micro_batches.size(), 2U);
    std::vector<at::Tensor> old;
    for (const train::MicroBatch& micro : mini.micro_batches) old.push_back(micro.old_logprobs);
    EXPECT_TRUE(is_close(at::cat(old), recorded, kTolerance)) << "old log-probabilities";
    train::GradientGuard guard(*policy.model, *policy.adapter, /*data_has_images=*/true);
    const train::UpdateResult result = update.accumulate(experience, mini, 0, {}, guard);  // with them
    EXPECT_TRUE(is_close(at::cat(result.logprobs), recorded, kTolerance)) << "the update's own pass";
  }
};

TEST_P(Mismatch, SampledLogprobsEqualThoseOfTraining) {
  expect_no_mismatch("full", 1.0);
}

TEST_P(Mismatch, SampledLogprobsEqualThoseOfTrainingAtAnotherTemperature) {
  expect_no_mismatch("full", 0.7);
}

TEST_P(Mismatch, SampledLogprobsEqualThoseOfTrainingWithAnAdapter) {
  expect_no_mismatch("lora", 1.0);
}

TEST_P(Mismatch, SampledLogprobsEqualThoseOfTrainingWithAnAdapterAtAnotherTemperature) {
  expect_no_mismatch("lora", 0.7);
}

// Of every token of the vocabulary, at every position of given completions, which end one after the other.
TEST_P(Mismatch, CachedDecodingEqualsFullRecomputation) {
  const at::NoGradGuard no_grad;
  const auto model = open();
  const std::vector<model::Prompt> prompts = mixed_prompts(*this, *model);
  const std::vector<std::string> texts = {"<think>short</think><answer>[]</answer>", "no", "a b",  "[12, 34]",
                                          "the red circle is at the left",           "ok", "你好", "?"};
  std::vector<std::vector<std::int64_t>> rows;
  for (const std::string& text : texts) rows.push_back(model->tokenizer().encode(text));
  std::vector<model::PackedSequences> groups, alone;
  std::vector<std::int64_t> prompt_lengths;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const at::Tensor features = image_values(*model, prompts[p]);
    groups.push_back({&prompts[p], features, {rows[2 * p], rows[2 * p + 1]}});
    alone.push_back({&prompts[p], features, {}});
    prompt_lengths.push_back(static_cast<std::int64_t>(prompts[p].ids.size()));
  }
  const std::uint32_t rank = model->position_rank();
  const at::Tensor expected = model->decode(model::pack_input(groups, rank),
                                            model::packed_attention(model::packed_groups(groups)), {});

  model::KvCache cache(model->attention_layers(), prompt_lengths);
  const at::Tensor prefilled = model->decode(model::pack_input(alone, rank), cache.prefill(), {});
  std::size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  cache.start_rows(2, static_cast<std::int64_t>(longest));
  std::vector<std::vector<at::Tensor>> hidden(rows.size());
  for (std::size_t t = 0; t < longest; ++t) {
    std::vector<std::int64_t> active, ids, positions;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (t >= rows[r].size()) continue;
      active.push_back(static_cast<std::int64_t>(r));
      ids.push_back(rows[r][t]);
      positions.push_back(prompts[r / 2].next_position + static_cast<std::int64_t>(t));
    }
    cache.keep(active);
    model::DecoderInput input;
    input.ids = at::tensor(ids, at::kLong);
    input.positions = at::tensor(positions, at::kLong).expand({static_cast<std::int64_t>(rank), -1});
    const at::Tensor step = model->decode(input, cache.step(), {});
    for (std::size_t i = 0; i < active.size(); ++i) {
      hidden[static_cast<std::size_t>(active[i])].push_back(step[static_cast<std::int64_t>(i)]);
    }
    cache.advance();
  }

  std::vector<at::Tensor> cached;
  std::int64_t begin = 0;
  for (std::size_t p = 0; p < prompts.size(); begin += prompt_lengths[p], ++p) {
    cached.push_back(prefilled.narrow(0, begin, prompt_lengths[p]));
    for (const std::size_t r : {2 * p, 2 * p + 1}) cached.push_back(at::stack(hidden[r]));
  }
  const auto logprobs = [&](const at::Tensor& states) {
    return at::log_softmax(model->head(states, {}), 1);  // [T, V]
  };
  EXPECT_TRUE(is_close(logprobs(at::cat(cached)), logprobs(expected), kTolerance));
}

INSTANTIATE_TEST_SUITE_P(Families, Mismatch, testing::ValuesIn(all_families()), family_name);

}  // namespace
}  // namespace graft::parity
