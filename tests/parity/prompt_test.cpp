// SPDX-License-Identifier: Apache-2.0
// From text and image files to the model's input: everything equals transformers.
#include <gtest/gtest.h>

#include "support/error.h"
#include "tests/parity/golden.h"
#include "tests/support/errors.h"

namespace graft::parity {
namespace {

class PromptParity : public Parity {};
class ImageParity : public Parity {};
class TextParity : public Parity {};

// Without the dimension of the batch, which has one row.
at::Tensor position_rows(const at::Tensor& positions) {
  return positions.dim() == 3 ? positions.squeeze(1) : positions;
}

std::vector<std::string> text_families() {
  std::vector<std::string> names = all_families();
  std::erase_if(names, [](const std::string& name) { return Fixture(name).has_images(); });
  return names;
}

TEST_P(PromptParity, TokenIdsEqual) {
  const auto model = open();
  for (const nlohmann::json& entry : notes().at("tokenizer")) {
    const std::string text = entry.at("text");
    const std::vector<std::int64_t> ids = model->tokenizer().encode(text);
    EXPECT_EQ(ids, entry.at("ids").get<std::vector<std::int64_t>>()) << text;
    EXPECT_EQ(model->tokenizer().decode(ids, false), entry.at("decoded").get<std::string>()) << text;
    EXPECT_EQ(model->tokenizer().decode(ids, true), entry.at("decoded_skip_special").get<std::string>())
        << text;
  }
}

TEST_P(PromptParity, ConversationsRenderAsTheChatTemplateDoes) {
  const auto model = open();
  for (const nlohmann::json& entry : notes().at("chat_cases")) {
    EXPECT_EQ(model->render(messages_of(entry.at("messages")), entry.at("add_generation_prompt")),
              entry.at("rendered").get<std::string>());
  }
}

TEST_P(ImageParity, PixelValuesAndGridEqualWithoutResize) {
  const auto model = open();
  const model::Prompt prompt = prepare_question(*model, "?", "image");
  EXPECT_TRUE(is_close(prompt.images.at(0).values, golden("image.pixel_values"), 1e-5));
  const std::vector<std::int64_t> grid(prompt.images[0].grid.begin(), prompt.images[0].grid.end());
  EXPECT_EQ(grid, ids_of(golden("image.image_grid_thw")));
}

TEST_P(ImageParity, PixelValuesAndGridEqualWithResize) {
  const auto model = open();
  const model::Prompt prompt = prepare_question(*model, "?", "image_resize");
  EXPECT_TRUE(is_close(prompt.images.at(0).values, golden("image_resize.pixel_values"), 1e-5));
  const std::vector<std::int64_t> grid(prompt.images[0].grid.begin(), prompt.images[0].grid.end());
  EXPECT_EQ(grid, ids_of(golden("image_resize.image_grid_thw")));
}

TEST_P(ImageParity, ImagesOfEverySizeAreResizedAlike) {
  for (const nlohmann::json& entry : notes().at("smart_resize")) {
    model::OpenOptions options;
    options.directory = directory();
    options.min_pixels = entry.at("min_pixels");
    options.max_pixels = entry.at("max_pixels");
    const auto model = model::Model::open(tiny_registry(), options);
    image::Image image;
    image.height = entry.at("height");
    image.width = entry.at("width");
    image.rgb.assign(static_cast<std::size_t>(3 * image.height * image.width), 128);
    const std::vector<model::Message> messages = {{"user", "?", 1}};
    const std::vector<image::Image> images = {image};
    const std::vector<std::string> names = {"gray"};
    const model::Prompt prompt = model->prepare(messages, images, names);
    const std::vector<std::int64_t> size = {prompt.images.at(0).processed_height,
                                            prompt.images[0].processed_width};
    EXPECT_EQ(size, entry.at("resized").get<std::vector<std::int64_t>>()) << entry;
  }
}

TEST_P(ImageParity, AnImageTwoHundredTimesAsLongAsWideIsRefusedIfTheProcessorRefusesIt) {
  const auto model = open();
  image::Image image;
  image.height = 2;
  image.width = 402;
  image.rgb.assign(3 * 2 * 402, 0);
  const std::vector<model::Message> messages = {{"user", "?", 1}};
  const std::vector<image::Image> images = {image};
  const std::vector<std::string> names = {"strip.png"};
  if (notes().contains("strip_resized")) {
    const model::Prompt prompt = model->prepare(messages, images, names);
    const std::vector<std::int64_t> size = {prompt.images.at(0).processed_height,
                                            prompt.images[0].processed_width};
    EXPECT_EQ(size, notes().at("strip_resized").get<std::vector<std::int64_t>>());
    return;
  }
  const std::string message = test::message_of<support::UserError>(
      [&] { static_cast<void>(model->prepare(messages, images, names)); });
  EXPECT_TRUE(test::contains(message, "strip.png"));
  EXPECT_TRUE(test::contains(message, "absolute aspect ratio must be smaller than 200, got 201.0"));
}

TEST_P(PromptParity, IdsAndPositionsOfAPromptEqual) {
  const auto model = open();
  const nlohmann::json& note = notes().at("prompt");
  const model::Prompt prompt = prepare_question(*model, question(), "image");
  EXPECT_EQ(prompt.text, note.at("rendered").get<std::string>());
  EXPECT_EQ(prompt.ids, ids_of(golden("prompt.input_ids")));

  const at::Tensor positions = position_rows(golden("position_ids"));  // [3 or 1, prompt and completion]
  const auto n = static_cast<std::int64_t>(prompt.ids.size());
  EXPECT_TRUE(prompt.positions.equal(positions.slice(1, 0, n)));
  EXPECT_EQ(prompt.next_position, positions[0][n].item<std::int64_t>());
  EXPECT_EQ(prompt.next_position - n, golden("rope_deltas").item<std::int64_t>());
}

TEST_P(ImageParity, IdsAndPositionsOfTwoImagesEqual) {
  const auto model = open();
  const nlohmann::json& note = notes().at("two_images");
  const std::vector<model::Message> messages = messages_of(note.at("messages"));
  const std::vector<image::Image> images = {load("image"), load("image_resize")};
  const std::vector<std::string> names = {"image.png", "image_resize.png"};
  const model::Prompt prompt = model->prepare(messages, images, names);
  EXPECT_EQ(prompt.text, note.at("rendered").get<std::string>());
  EXPECT_EQ(prompt.ids, ids_of(golden("two_images.input_ids")));
  EXPECT_TRUE(prompt.positions.equal(position_rows(golden("two_images.position_ids"))));
}

TEST_P(ImageParity, AMissingImageIsAnError) {
  const auto model = open();
  const std::vector<model::Message> messages = {{"user", "<image> and <image>", 2}};
  const std::vector<image::Image> images = {load("image")};
  const std::vector<std::string> names = {"image.png"};
  const std::string message = test::message_of<support::UserError>(
      [&] { static_cast<void>(model->prepare(messages, images, names)); });
  EXPECT_TRUE(test::contains(message, "2 images"));
  EXPECT_TRUE(test::contains(message, "1 were given"));
}

TEST_P(TextParity, AnImageIsRefusedByName) {
  const auto model = open();
  image::Image image;
  image.height = image.width = 28;
  image.rgb.assign(3 * 28 * 28, 0);
  const std::vector<model::Message> messages = {{"user", "?", 1}};
  const std::vector<image::Image> images = {image};
  const std::string message =
      test::message_of<support::UserError>([&] { static_cast<void>(model->prepare(messages, images, {})); });
  EXPECT_TRUE(test::contains(message, "model family " + GetParam() + " takes text only"));
}

INSTANTIATE_TEST_SUITE_P(Families, PromptParity, testing::ValuesIn(all_families()), family_name);
INSTANTIATE_TEST_SUITE_P(Families, ImageParity, testing::ValuesIn(image_families()), family_name);
INSTANTIATE_TEST_SUITE_P(Families, TextParity, testing::ValuesIn(text_families()), family_name);

}  // namespace
}  // namespace graft::parity
