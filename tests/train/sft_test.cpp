// SPDX-License-Identifier: Apache-2.0
#include "train/sft.h"

#include <gtest/gtest.h>

#include <optional>

#include "adapt/adapter.h"
#include "tests/support/tiny_trainer.h"

namespace graft::train {
namespace {

std::vector<data::Sample> answered_samples() {
  std::vector<data::Sample> samples;
  for (const auto& [question, image, answer] :
       {std::tuple{"Where is the red box?", "image", "[1, 2, 3, 4]"},
        std::tuple{"How many?", "", "Three of them."},
        std::tuple{"Left or right?", "image_resize", "Left, as far as I can see."},
        std::tuple{"Colour?", "", "Blue"}}) {
    data::Sample sample = tests::tiny_sample({question, image});
    sample.has_answer = true;
    sample.answer = sample.solution = answer;
    samples.push_back(std::move(sample));
  }
  return samples;
}

struct Sft {
  explicit Sft(config::RunConfig options)
      : config(std::move(options)),
        model(tests::open_tiny_model()),
        adapter(adapt::Adapter::attach(*model, tests::tiny_registry(),
                                       tests::TinyTrainer::attach_options(config, {}))),
        prompts(*model, config.data, answered_samples(), 0),
        trainer(*model, *adapter, prompts, config) {}

  config::RunConfig config;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
  PromptSource prompts;
  SftTrainer trainer;
};

config::RunConfig base_config() {
  config::RunConfig config;
  config.data.shuffle = false;
  config.train.batch_size = 4;
  config.train.steps = 10;
  config.optimizer.learning_rate = 1e-2;
  config.optimizer.schedule = "constant";
  return config;
}

std::vector<nlohmann::ordered_json> steps(const config::RunConfig& config, int n) {
  Sft sft(config);
  std::vector<nlohmann::ordered_json> rows;
  for (int i = 0; i < n; ++i) rows.push_back(sft.trainer.step());
  return rows;
}

TEST(SftTrainer, TheSplitOfAStepDoesNotChangeIt) {
  const auto whole = steps(base_config(), 3);
  config::RunConfig by_count = base_config(), by_tokens = base_config();
  by_count.train.micro_batch_size = 1;
  by_tokens.train.micro_batch_tokens = 70;
  for (const auto& config : {by_count, by_tokens}) {
    const auto split = steps(config, 3);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const char* name : {"loss", "entropy", "mean_token_accuracy"}) {
        EXPECT_NEAR(split[i][name].get<double>(), whole[i][name].get<double>(), 1e-5) << name << i;
      }
      EXPECT_EQ(split[i]["num_tokens"], whole[i]["num_tokens"]);
    }
    EXPECT_NEAR(split[0]["loss"].get<double>(), whole[0]["loss"].get<double>(), 1e-6);
  }
  EXPECT_LT(whole[2]["loss"].get<double>(), whole[0]["loss"].get<double>());
}

TEST(SftTrainer, ValidationGivesTheTrainingLoss) {
  Sft sft(base_config());
  const nlohmann::ordered_json before = validate(*sft.model, sft.prompts, sft.config);
  const nlohmann::ordered_json row = sft.trainer.step();
  for (const char* name : {"loss", "entropy", "mean_token_accuracy"}) {
    EXPECT_NEAR(before[name].get<double>(), row[name].get<double>(), 1e-6) << name;
  }
  const nlohmann::ordered_json after = validate(*sft.model, sft.prompts, sft.config);
  EXPECT_LT(after["loss"].get<double>(), before["loss"].get<double>());
  EXPECT_EQ(after["answer_tokens"], before["answer_tokens"]);
}

TEST(SftTrainer, ValidationTakesTheFirstSamplesOnly) {
  Sft sft(base_config());
  sft.config.eval.samples = 1;
  const nlohmann::ordered_json one = validate(*sft.model, sft.prompts, sft.config);
  sft.config.eval.samples.reset();
  sft.config.eval.batch_size = 3;
  const nlohmann::ordered_json all = validate(*sft.model, sft.prompts, sft.config);
  EXPECT_LT(one["answer_tokens"].get<std::int64_t>(), all["answer_tokens"].get<std::int64_t>());
}

}  // namespace
}  // namespace graft::train
