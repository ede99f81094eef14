// SPDX-License-Identifier: Apache-2.0
// What the first step says of each way to lose gradients, with a family that cuts the graph (plugins/faulty_family.cpp).
#include "train/gradient_guard.h"

#include <gtest/gtest.h>

#include <memory>

#include "memory/recompute.h"
#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_trainer.h"
#include "train/sft.h"

namespace graft::train {
namespace {

using test::contains;
using test::message_of;

struct Case {
  std::string fault = "none";
  std::string strategy = "lora";
  bool recomputes = false;
  std::vector<std::string> components = {"language"};
};

std::unique_ptr<model::Model> open_faulty(const std::string& fault) {
  static const bool is_loaded = [] {
    tests::tiny_registry().load(std::filesystem::path(GRAFT_BINARY_DIR) / "tests/plugins/faulty_family.so");
    return true;
  }();
  (void)is_loaded;
  model::OpenOptions options;
  options.directory = std::filesystem::path(GRAFT_TEST_DATA) / "parity/data/qwen2_tiny";
  options.family = "faulty_qwen2";
  options.family_params = nlohmann::json{{"fault", fault}}.dump();
  return model::Model::open(tests::tiny_registry(), options);
}

std::vector<data::Sample> answered(const std::vector<std::string>& images) {
  std::vector<data::Sample> samples;
  for (const std::string& image : images) {
    data::Sample sample = tests::tiny_sample({"Where?", image});
    sample.has_answer = true;
    sample.answer = sample.solution = "Here it is";
    samples.push_back(std::move(sample));
  }
  return samples;
}

config::RunConfig one_sample_a_step() {
  config::RunConfig config;
  config.data.shuffle = false;
  config.train.batch_size = 1;
  config.train.steps = 10;
  return config;
}

// Supervised training of one sample a step.
struct Training {
  Training(std::unique_ptr<model::Model> opened, const Case& made, const std::vector<std::string>& images)
      : config(one_sample_a_step()),
        model(std::move(opened)),
        adapter(adapt::Adapter::attach(*model, tests::tiny_registry(), attach_options(made))),
        prompts(*model, config.data, answered(images), 0),
        trainer(*model, *adapter, prompts, config) {
    if (made.recomputes) {
      model->set_segment_hook(memory::recompute_hook(
          std::vector<memory::Decision>(model->segments().size(), memory::Decision::kRecompute)));
    }
  }
  static adapt::AttachOptions attach_options(const Case& made) {
    adapt::AttachOptions options;
    options.strategy = made.strategy;
    if (made.strategy == "lora") options.params = {{"r", 2}};
    options.targets.all_linear = true;
    for (const std::string& name : made.components) {
      options.targets.components.push_back(adapt::component_code(name));
    }
    return options;
  }

  config::RunConfig config;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<adapt::Adapter> adapter;
  PromptSource prompts;
  SftTrainer trainer;
};

void expect_trains(const Case& made) {
  Training run(open_faulty(made.fault), made, {""});
  EXPECT_NO_THROW((void)run.trainer.step()) << made.fault << ' ' << made.strategy;
}

std::string plugin_message(const Case& made) {
  Training run(open_faulty(made.fault), made, {""});
  return message_of<support::PluginError>([&] { (void)run.trainer.step(); });
}

TEST(GradientGuard, LetsAWholeGraphPass) {
  for (const char* strategy : {"lora", "full"}) {
    for (const bool recomputes : {false, true}) expect_trains({"none", strategy, recomputes});
  }
}

// The historical failure: frozen embeddings in front of recomputed segments.
TEST(GradientGuard, FrozenEmbeddingsCutNothingUnderLora) {
  for (const bool recomputes : {false, true}) expect_trains({"freeze_embeddings", "lora", recomputes});
}

TEST(GradientGuard, NamesEmbeddingsThatTheFamilyFreezes) {
  for (const bool recomputes : {false, true}) {
    const std::string message = plugin_message({"freeze_embeddings", "full", recomputes});
    EXPECT_TRUE(contains(message, "1 of 26 trained tensors have no gradient"));
    EXPECT_TRUE(contains(message, "1 trained tensor of 1 layer (model.embed_tokens"));
    EXPECT_TRUE(contains(message, "all history up to model.embed_tokens"));
    EXPECT_TRUE(contains(message, "likely cause: the model family faulty_qwen2"));
    EXPECT_TRUE(contains(message, "peft.exclude_modules"));
  }
}

TEST(GradientGuard, FindsTheLayerBeforeWhichTheGraphIsCut) {
  for (const bool recomputes : {false, true}) {
    const std::string message = plugin_message({"detach_layer", "lora", recomputes});
    EXPECT_TRUE(contains(message, "14 of 28 trained tensors have no gradient"));
    EXPECT_TRUE(contains(message, "14 trained tensors of 7 layers (model.layers.0.self_attn.q_proj, "));
    EXPECT_TRUE(contains(message, "and 1 more)"));
    EXPECT_TRUE(contains(
        message, "all history up to model.layers.0.mlp.down_proj is lost before model.layers.1.self_attn"));
    EXPECT_TRUE(contains(message, "detaches a tensor there"));
  }
}

TEST(GradientGuard, TellsASingleCutLayerFromTheOthers) {
  const std::string message = plugin_message({"detach_projection", "lora", false});
  EXPECT_TRUE(contains(message, "2 of 28 trained tensors have no gradient"));
  EXPECT_TRUE(contains(message, "2 trained tensors of 1 layer (model.layers.1.self_attn.v_proj)"));
  EXPECT_TRUE(contains(message, "without its history, while the layers before and behind have gradients"));
}

TEST(GradientGuard, ExplainsALossWithoutGradFn) {
  for (const bool recomputes : {false, true}) {
    const std::string message = plugin_message({"no_history", "lora", recomputes});
    EXPECT_TRUE(contains(message, "the loss has no grad_fn"));
    EXPECT_TRUE(contains(message, "28 trained tensors of 14 layers"));
    EXPECT_TRUE(contains(message, "what it returned has no history"));
    EXPECT_TRUE(contains(message, "operators on the tensors that exec gave"));
  }
}

// With a trained head the loss keeps a grad_fn, and only the rest is lost: the silent case elsewhere.
TEST(GradientGuard, SeesThatOnlyTheHeadIsLeft) {
  const std::string message = plugin_message({"no_history", "full", false, {"language", "head"}});
  EXPECT_TRUE(contains(message, "26 of 27 trained tensors have no gradient"));
  EXPECT_TRUE(contains(message, "is lost before lm_head, the first layer with a gradient"));
}

TEST(GradientGuard, NamesASiteThatIsNeverCalled) {
  const std::string message = plugin_message({"skip_site", "lora", false});
  EXPECT_TRUE(contains(message, "2 of 28 trained tensors have no gradient"));
  EXPECT_TRUE(contains(message, "model.layers.1.self_attn.v_proj) took no part in the forward pass"));
  EXPECT_TRUE(contains(message, "never calls them; take them out with peft.exclude_modules"));
}

TEST(GradientGuard, VisionWithoutImagesIsTheUsersToChange) {
  {
    Training run(tests::open_tiny_model(), {"none", "lora", false, {"language", "vision"}}, {""});
    const std::string message = message_of<support::UserError>([&] { (void)run.trainer.step(); });
    EXPECT_TRUE(contains(message, "no sample has an image"));
    EXPECT_TRUE(contains(message, "out of peft.components"));
  }
  Training run(tests::open_tiny_model(), {"none", "lora", false, {"vision"}}, {""});
  const std::string message = message_of<support::UserError>([&] { (void)run.trainer.step(); });
  EXPECT_TRUE(contains(message, "the loss has no grad_fn"));
  EXPECT_TRUE(contains(message, "no sample has an image"));
}

// The first sample has no image, the second has one.
TEST(GradientGuard, WaitsForTheFirstImage) {
  for (const std::vector<std::string>& components :
       {std::vector<std::string>{"language", "vision"}, {"vision"}}) {
    Training run(tests::open_tiny_model(), {"none", "lora", false, components}, {"", "image"});
    EXPECT_NO_THROW((void)run.trainer.step());
    EXPECT_NO_THROW((void)run.trainer.step());
  }
}

}  // namespace
}  // namespace graft::train
