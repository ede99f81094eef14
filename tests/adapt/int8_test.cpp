// SPDX-License-Identifier: Apache-2.0
// A frozen base in eight bits (model.quantize=int8): every strategy computes on it what it computes on a float32 model of the
// same rounded weights.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <map>

#include "adapt/adapter.h"
#include "model/autocast.h"
#include "model/int8_weight.h"
#include "objective/logprobs.h"
#include "support/error.h"
#include "support/random.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

std::unique_ptr<model::Model> open_int8() {
  model::OpenOptions options;
  options.directory = tests::tiny_directory();
  options.as_int8 = true;
  return model::Model::open(tests::tiny_registry(), options);
}

// The float32 model with the weights that `rounded` computes with.
std::unique_ptr<model::Model> open_rounded(const model::Model& rounded) {
  auto model = tests::open_tiny_model();
  for (std::size_t i = 0; i < model->params().size(); ++i) {
    model->params()[i].tensor.copy_(rounded.params()[i].dense(at::kFloat));
  }
  return model;
}

// Log-probabilities of an answer and the gradients of their sum under a strategy with random values.
struct Result {
  at::Tensor logprobs, disabled;
  std::map<std::string, at::Tensor> gradients;
};

Result run(model::Model& model, const std::string& strategy, const nlohmann::json& params) {
  AttachOptions options;
  options.strategy = strategy;
  options.params = params;
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_VISION};
  options.seed = 3;
  const auto adapter = Adapter::attach(model, tests::tiny_registry(), options);
  {
    const at::NoGradGuard no_grad;
    for (const auto& item : adapter->tensors()) {
      if (!item.is_trained) continue;
      support::KeyedRandom random(4, {support::hash_string(item.name)});
      auto* values = item.tensor.data_ptr<float>();
      for (std::int64_t i = 0; i < item.tensor.numel(); ++i)
        values[i] += static_cast<float>(0.02 * random.normal());
    }
  }
  const auto prompt = tests::tiny_prompt(model, "Where is the red square?", "image").prompt;
  const auto answer = model.tokenizer().encode("at the left");
  const auto score = [&](const model::PassOptions& pass) {
    const std::vector<const model::PreparedImage*> images = {&prompt.images.front()};
    objective::ScoredGroup group{&prompt, model.encode_images(images, pass), {}};
    group.completions.emplace_back(answer);
    const std::vector<objective::ScoredGroup> groups = {group};
    objective::LogprobOptions scoring;
    scoring.pass = pass;
    return objective::completion_logprobs(model, groups, scoring).logprobs;
  };
  Result result;
  result.logprobs = score({});
  result.logprobs.sum().backward();
  model::PassOptions off;
  off.adapters_enabled = false;
  result.disabled = score(off).detach();
  for (const auto& item : adapter->tensors()) {
    if (item.is_trained) result.gradients[item.name] = item.tensor.grad();
  }
  return result;
}

struct Case {
  const char* name;
  const char* strategy;
  nlohmann::json params;
};

class Int8Base : public testing::TestWithParam<Case> {};

TEST_P(Int8Base, GivesTheResultsOfTheRoundedWeights) {
  const auto model = open_int8();
  const auto rounded = open_rounded(*model);
  const Result found = run(*model, GetParam().strategy, GetParam().params);
  const Result expected = run(*rounded, GetParam().strategy, GetParam().params);
  EXPECT_TRUE(at::allclose(found.logprobs, expected.logprobs, 1e-5, 1e-5));
  EXPECT_TRUE(at::equal(found.disabled, expected.disabled));
  ASSERT_EQ(found.gradients.size(), expected.gradients.size());
  for (const auto& [name, grad] : expected.gradients) {
    const double scale = std::max(grad.abs().max().item<double>(), 1e-6);
    EXPECT_LT((found.gradients.at(name) - grad).abs().max().item<double>(), 1e-5 * scale + 1e-7) << name;
  }
}

std::vector<Case> cases() {
  return {{"lora", "lora", {{"r", 4}}},
          {"dora", "lora", {{"r", 4}, {"use_dora", true}}},
          {"olora", "lora", {{"r", 4}, {"init", "olora"}}},
          {"lora_biases", "lora", {{"r", 4}, {"bias", "lora_only"}}}};
}

INSTANTIATE_TEST_SUITE_P(Adapt, Int8Base, testing::ValuesIn(cases()),
                         [](const auto& of) { return std::string(of.param.name); });

TEST(Int8BaseModel, HoldsLinearWeightsInAQuarterOfTheMemory) {
  const auto model = open_int8();
  std::int64_t held = 0;
  for (const auto& site : model->sites()) {
    const auto& weight = model->params()[static_cast<std::size_t>(site.weight)];
    const bool is_head = site.component == GRAFT_COMPONENT_HEAD;
    EXPECT_EQ(weight.holds_int8, !is_head) << site.name;
    if (is_head) continue;
    EXPECT_EQ(weight.tensor.nbytes(), static_cast<std::size_t>(site.in_features * site.out_features));
    ++held;
  }
  EXPECT_GT(held, 0);
}

TEST(Int8BaseModel, IsNotTrainedItself) {
  const auto model = open_int8();
  AttachOptions options;
  options.strategy = "full";
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  const auto message = test::message_of<support::UserError>(
      [&] { (void)Adapter::attach(*model, tests::tiny_registry(), options); });
  EXPECT_TRUE(test::contains(message, "int8")) << message;
}

}  // namespace
}  // namespace graft::adapt
