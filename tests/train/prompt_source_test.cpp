// SPDX-License-Identifier: Apache-2.0
// Prompts of every shape in one batch: several images between words, several rounds, system turns, text alone.
#include "train/prompt_source.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "objective/logprobs.h"
#include "support/files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"
#include "train/session.h"
#include "train/update.h"

namespace graft::train {
namespace {

constexpr const char* kRecords =
    R"({"image": ["image.png", "image_resize.png"], "conversations": [{"from": "human", "value": "Compare <image> with <image>."}]})"
    "\n"
    R"({"conversations": [{"from": "human", "value": "Say a colour."}]})"
    "\n"
    R"({"image": ["image_resize.png", "image.png"], "conversations": [{"from": "system", "value": "Be brief."},
 {"from": "human", "value": "First <image>"}, {"from": "gpt", "value": "Red."}, {"from": "human", "value": "then <image>?"}]})"
    "\n"
    R"({"image": "image.png", "conversations": [{"from": "human", "value": "<image>Where?"}, {"from": "gpt", "value": "Left."}]})"
    "\n";

constexpr std::string_view kImage = "<|vision_start|><|image_pad|><|vision_end|>";

class PromptSourceTest : public testing::Test {
 protected:
  PromptSourceTest() {
    std::string records = kRecords;
    records.erase(records.find("\n {\"from\": \"human\", \"value\": \"First"), 1);  // one record a line
    config_.data.train = {directory_.write("train.jsonl", records)};
    config_.data.image_root = {(tests::tiny_directory() / "golden").string()};
    config_.data.shuffle = false;
    config_.data.strict = true;
  }

  [[nodiscard]] std::vector<PromptItem> draw() {
    source_.emplace(*model_, config_.data,
                    load_samples(config::train_files(config_.data), config_, std::nullopt).samples, 0);
    std::int64_t position = 0, skipped = 0;
    return source_->draw(source_->size(), &position, &skipped);
  }

  // "…", with {} for an image.
  static std::string rendered(std::string text) {
    for (std::size_t at = text.find("{}"); at != std::string::npos; at = text.find("{}")) {
      text.replace(at, 2, kImage);
    }
    return text;
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<model::Model> model_ = tests::open_tiny_model();
  config::RunConfig config_;
  std::optional<PromptSource> source_;
};

TEST_F(PromptSourceTest, ImagesStandWhereTheTextSays) {
  config_.data.system_prompt = "Look.";
  const std::vector<PromptItem> items = draw();
  ASSERT_EQ(items.size(), 4U);
  const std::string system = "<|im_start|>system\nLook.<|im_end|>\n",
                    end = "<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(items[0].prompt.text, rendered(system + "<|im_start|>user\nCompare {} with {}." + end));
  EXPECT_EQ(items[1].prompt.text, system + "<|im_start|>user\nSay a colour." + end);
  EXPECT_EQ(items[2].prompt.text,
            rendered("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nFirst {}"
                     "<|im_end|>\n<|im_start|>assistant\nRed.<|im_end|>\n<|im_start|>user\n"
                     "then {}?" +
                     end));
  EXPECT_EQ(items[3].prompt.text, rendered(system + "<|im_start|>user\n{}Where?" + end));
  ASSERT_EQ(items[2].prompt.images.size(), 2U);
  EXPECT_NE(items[2].prompt.images[0].original_width, items[2].prompt.images[1].original_width);
  EXPECT_EQ(items[2].prompt.images[0].original_width, items[0].prompt.images[1].original_width);
}

TEST_F(PromptSourceTest, ImagesMayAlwaysComeFirst) {
  config_.data.image_position = "first";
  config_.data.question_template = "Q: {question}";
  const std::vector<PromptItem> items = draw();
  EXPECT_NE(items[0].prompt.text.find(rendered("user\n{}{}Q: Compare  with .<|im_end|>")), std::string::npos);
  EXPECT_NE(items[2].prompt.text.find(rendered("user\n{}First <|im_end|>")), std::string::npos);
  EXPECT_NE(items[2].prompt.text.find(rendered("user\n{}Q: then ?<|im_end|>")), std::string::npos);
  EXPECT_NE(items[3].prompt.text.find(rendered("user\n{}Q: Where?<|im_end|>")), std::string::npos);
}

// Features and log-probabilities of each prompt are what they are when it is alone.
TEST_F(PromptSourceTest, PromptsWithAndWithoutImagesShareABatch) {
  const std::vector<PromptItem> items = draw();
  std::vector<const model::Prompt*> prompts;
  for (const PromptItem& item : items) prompts.push_back(&item.prompt);
  const std::vector<at::Tensor> features = encode_prompt_images(*model_, prompts, {});
  const std::vector<std::int64_t> completion = {5, 17, 300, 2};
  std::vector<objective::ScoredGroup> groups;
  for (std::size_t p = 0; p < prompts.size(); ++p) groups.push_back({prompts[p], features[p], {completion}});
  const at::Tensor together = objective::completion_logprobs(*model_, groups, {}).logprobs;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const at::Tensor alone = encode_prompt_images(*model_, {prompts[p]}, {})[0];
    ASSERT_EQ(features[p].defined(), !prompts[p]->images.empty());
    if (alone.defined()) {
      EXPECT_LE((features[p] - alone).abs().max().item<double>(), 1e-5);
    }
    const std::vector<objective::ScoredGroup> one = {{prompts[p], alone, {completion}}};
    const at::Tensor own = objective::completion_logprobs(*model_, one, {}).logprobs;
    const auto begin = static_cast<std::int64_t>(p * completion.size());
    EXPECT_LE((together.slice(0, begin, begin + 4) - own).abs().max().item<double>(), 1e-5) << p;
  }
}

}  // namespace
}  // namespace graft::train
