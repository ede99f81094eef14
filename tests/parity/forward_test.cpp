// SPDX-License-Identifier: Apache-2.0
// Vision features, logits, log-probabilities, greedy tokens and gradients of the base model equal
// transformers'.
#include <gtest/gtest.h>

#include <map>

#include "objective/logprobs.h"
#include "rollout/rollout.h"
#include "tests/parity/golden.h"

namespace graft::parity {
namespace {

constexpr double kTolerance = 2e-4;

class ForwardParity : public Parity {};
class VisionParity : public Parity {};

TEST_P(VisionParity, VisionFeaturesEqual) {
  const auto model = open();
  const model::Prompt prompt = prepare_question(*model, question(), "image");
  EXPECT_TRUE(is_close(image_values(*model, prompt), golden("vision.embeddings"), kTolerance));
}

TEST_P(VisionParity, VisionFeaturesOfSeveralImagesEqual) {
  const auto model = open();
  const model::Prompt first = prepare_question(*model, "?", "image");
  const model::Prompt second = prepare_question(*model, "?", "image_resize");
  const std::vector<const model::PreparedImage*> images = {&first.images[0], &second.images[0]};
  EXPECT_TRUE(is_close(model->encode_images(images, {}), golden("two_images.embeddings"), kTolerance));
}

TEST_P(ForwardParity, LogitsEqual) {
  const auto model = open();
  const model::Prompt prompt = prepare_question(*model, question(), "image");
  const at::Tensor logits = logits_of(*model, prompt, ids_of(golden("completion_ids")));
  EXPECT_TRUE(are_logits_close(logits, golden("logits")[0], kTolerance));
}

TEST_P(VisionParity, LogitsOfAPromptWithTwoImagesEqual) {
  const auto model = open();
  const std::vector<model::Message> messages = messages_of(notes().at("two_images").at("messages"));
  const std::vector<image::Image> images = {load("image"), load("image_resize")};
  const std::vector<std::string> names = {"image.png", "image_resize.png"};
  const model::Prompt prompt = model->prepare(messages, images, names);
  const at::Tensor logits = logits_of(*model, prompt, {});
  EXPECT_TRUE(is_close(logits[-1], golden("two_images.last_logits"), kTolerance));
}

TEST_P(ForwardParity, LogprobsOfACompletionEqual) {
  const auto model = open();
  const Single single(*this, *model);
  const objective::TokenLogprobs scored = objective::completion_logprobs(*model, single.groups, {});
  EXPECT_TRUE(is_close(scored.logprobs, golden("logprobs"), kTolerance));
}

TEST_P(ForwardParity, GreedyTokensEqual) {
  const auto model = open();
  const model::Prompt prompt = prepare_question(*model, question(), "image");
  const std::vector<const model::Prompt*> prompts = {&prompt};
  const std::vector<at::Tensor> images = {image_values(*model, prompt)};
  const std::vector<std::uint64_t> keys = {0};
  rollout::SamplingOptions options;
  options.temperature = 0.0;
  options.max_completion_length = 24;
  options.ban_image_tokens = false;
  const rollout::Rollouts rollouts = rollout::generate(*model, prompts, images, keys, options);
  ASSERT_EQ(rollouts.completions.size(), 1u);
  EXPECT_EQ(rollouts.completions[0].ids, ids_of(golden("generate.greedy_ids")));
}

TEST_P(ForwardParity, DecodingTogetherEqualsDecodingOneByOne) {
  const auto model = open();
  const Batch batch(*this, *model);
  rollout::SamplingOptions options;
  options.temperature = 1.0;
  options.max_completion_length = 16;
  options.num_generations = 2;
  const std::vector<const model::Prompt*> prompts = {&batch.prompts[0], &batch.prompts[1]};
  const std::vector<at::Tensor> images = {batch.groups[0].image_values, batch.groups[1].image_values};
  const std::vector<std::uint64_t> keys = {0, 1};
  const rollout::Rollouts together = rollout::generate(*model, prompts, images, keys, options);
  ASSERT_EQ(together.completions.size(), 4u);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const rollout::Rollouts alone =
        rollout::generate(*model, {&prompts[p], 1}, {&images[p], 1}, {&keys[p], 1}, options);
    ASSERT_EQ(alone.completions.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i)
      EXPECT_EQ(alone.completions[i].ids, together.completions[2 * p + i].ids) << "prompt " << p;
  }
}

// The packed layout, one prompt and its completions, against left- and right-padded rows.
TEST_P(ForwardParity, LogprobsOfABatchEqualThoseOfPaddedRows) {
  const auto model = open();
  const Batch batch(*this, *model);
  for (std::size_t g = 0; g < batch.prompts.size(); ++g) {
    EXPECT_EQ(batch.prompts[g].text, notes().at("batch").at("texts").at(g).get<std::string>());
  }
  const objective::TokenLogprobs scored = objective::completion_logprobs(*model, batch.groups, {});
  const at::Tensor mask = golden("batch.completion_mask").to(at::kBool);
  EXPECT_TRUE(is_close(scored.logprobs, golden("batch.logprobs").masked_select(mask), kTolerance));
}

TEST_P(ForwardParity, GradientNormsOfEveryParameterEqual) {
  const auto model = open();
  for (model::Param& param : model->params()) param.tensor.set_requires_grad(true);
  const Single single(*this, *model);
  objective::completion_logprobs(*model, single.groups, {}).logprobs.sum().backward();

  std::map<std::string, double> ours;
  for (const model::Param& param : model->params()) {
    if (param.tied_to >= 0) continue;
    ASSERT_TRUE(param.tensor.grad().defined()) << param.name;
    ours[param.aliases.empty() ? param.name : param.aliases[0]] = param.tensor.grad().norm().item<double>();
  }
  const nlohmann::json& theirs = notes().at("full_gradient_norms");
  EXPECT_EQ(ours.size(), theirs.size());
  for (const auto& [name, norm] : theirs.items()) {
    ASSERT_TRUE(ours.contains(name)) << name;
    EXPECT_NEAR(ours[name], norm.get<double>(), 1e-4 * norm.get<double>() + 1e-6) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ForwardParity, testing::ValuesIn(all_families()), family_name);
INSTANTIATE_TEST_SUITE_P(Families, VisionParity, testing::ValuesIn(image_families()), family_name);

}  // namespace
}  // namespace graft::parity
