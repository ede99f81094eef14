// SPDX-License-Identifier: Apache-2.0
// What InternVL accepts as configuration, template and image, beyond what its fixtures show.
#include <graft/checkpoint_policy.h>
#include <graft/reward.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/parity/edited_directory.h"
#include "tests/parity/golden.h"
#include "tests/support/errors.h"

namespace graft::parity {
namespace {

using nlohmann::json;

std::string internvl_failure(const char* file, const std::function<void(json&)>& change) {
  return failure_of(file, change, "internvl");
}

void expect_vision_refusal(const char* key, const json& value, std::initializer_list<const char*> words) {
  expect_mentions(
      internvl_failure("config.json", [&](json& config) { config["vision_config"][key] = value; }), words);
}

image::Image grey(std::int64_t width, std::int64_t height) {
  image::Image image;
  image.width = width;
  image.height = height;
  image.rgb.assign(static_cast<std::size_t>(3 * width * height), 100);
  return image;
}

model::PreparedImage prepare_image(const model::Model& model, const image::Image& image) {
  const std::vector<image::Image> images = {image};
  return model.prepare({{"user", "?", 1}}, images, {}).images.at(0);
}

bool has_tied_head(const model::Model& model) {
  const model::Site& head = model.sites()[model.head_site()];
  return model.params()[static_cast<std::size_t>(head.weight)].tied_to >= 0;
}

TEST(InternVlConfig, LinearLayersAreSitesOfTheirComponents) {
  const auto model = EditedDirectory("internvl").open();
  std::map<std::int32_t, int> counts;
  for (const model::Site& site : model->sites()) ++counts[site.component];
  EXPECT_EQ(counts[GRAFT_COMPONENT_LANGUAGE], 2 * 7);
  EXPECT_EQ(counts[GRAFT_COMPONENT_VISION], 2 * 6);
  EXPECT_EQ(counts[GRAFT_COMPONENT_PROJECTOR], 2);
  EXPECT_EQ(counts[GRAFT_COMPONENT_HEAD], 1);
  for (const model::Param& param : model->params()) {
    const bool is_projector = param.name.starts_with("model.multi_modal_projector.");
    EXPECT_EQ(param.component == GRAFT_COMPONENT_PROJECTOR, is_projector) << param.name;
  }
  EXPECT_EQ(model->grounding_space(), GRAFT_SPACE_PER_MILLE);
  EXPECT_TRUE(test::contains(model->grounding_format(), "<ref>…</ref><box>[[x1, y1, x2, y2]]</box>"));
}

TEST(InternVlConfig, TheDecoderIsThatOfTheTextModelsType) {
  const EditedDirectory directory("internvl");
  const std::size_t qwen2 = directory.open()->params().size();
  directory.edit("config.json", [](json& config) { config["text_config"].erase("model_type"); });
  EXPECT_EQ(directory.open()->params().size(), qwen2);
  directory.edit("config.json", [](json& config) { config["text_config"]["model_type"] = "llama"; });
  EXPECT_EQ(directory.open()->params().size(), qwen2 - 2 * 3);  // no biases
  directory.edit("config.json", [](json& config) { config["text_config"]["model_type"] = "qwen3"; });
  EXPECT_EQ(directory.open()->params().size(), qwen2 - 2 * 3 + 2 * 2);  // and two norms
  const auto other = [](json& config) { config["text_config"]["model_type"] = "gpt_oss"; };
  expect_mentions(internvl_failure("config.json", other),
                  {"text_config", "model_type", "gpt_oss", "llama", "qwen2", "qwen3"});
  const auto none = [](json& config) { config.erase("text_config"); };
  expect_mentions(internvl_failure("config.json", none), {"text_config", "missing"});
}

// transformers 5 writes true at the top, by default, of models that have a head of their own.
TEST(InternVlConfig, WhetherTheHeadIsTiedIsTheDecodersToSay) {
  const EditedDirectory directory("internvl");
  const auto ties = [&](const json& at_top, const json& of_text) {
    directory.edit("config.json", [&](json& config) {
      config["tie_word_embeddings"] = at_top;
      config["text_config"]["tie_word_embeddings"] = of_text;
    });
    return has_tied_head(*directory.open());
  };
  EXPECT_FALSE(ties(true, false));
  EXPECT_TRUE(ties(false, true));
  EXPECT_TRUE(ties(true, nullptr));
  EXPECT_FALSE(ties(nullptr, nullptr));
}

TEST(InternVlConfig, WhatIsNotOfferedIsRefused) {
  expect_vision_refusal("norm_type", "batch_norm", {"norm_type", "batch_norm", "layer_norm", "rms_norm"});
  expect_vision_refusal("hidden_act", "silu", {"hidden_act", "silu", "gelu"});
  expect_vision_refusal("use_mask_token", true, {"use_mask_token"});
  expect_vision_refusal("patch_size", {14, 16}, {"patch_size", "square"});
  expect_vision_refusal("num_attention_heads", 3, {"hidden_size", "num_attention_heads"});
  const auto at_top = [](const char* key, const json& value) {
    return internvl_failure("config.json", [&](json& config) { config[key] = value; });
  };
  expect_mentions(at_top("downsample_ratio", 0.3), {"downsample_ratio", "0.3"});
  expect_mentions(at_top("projector_hidden_act", "silu"), {"projector_hidden_act", "silu"});
  expect_mentions(at_top("vision_feature_layer", -2), {"vision_feature_layer", "-2"});
  expect_mentions(at_top("vision_feature_select_strategy", "full"), {"vision_feature_select_strategy"});
}

TEST(InternVlConfig, ATemplateThatCannotBeHonouredIsRefused) {
  const auto with_template = [](const char* text) {
    return internvl_failure("tokenizer_config.json", [&](json& config) { config["chat_template"] = text; });
  };
  expect_mentions(with_template("[INST] {{ content }} [/INST]"), {"chat template", "ChatML"});
  expect_mentions(with_template("{{ '<|im_start|>' + role }}<image>"), {"chat template", "not recognised"});
}

TEST(InternVlPrompt, AVideoPlaceholderIsRefused) {
  const auto model = EditedDirectory("internvl").open();
  const std::string message = test::message_of<support::UserError>([&] {
    static_cast<void>(model->prepare({{"user", "<video>", 0}}, {}, {}));
  });
  expect_mentions(message, {"<video>", "takes images"});
}

TEST(InternVlPrompt, ATokenizerWithoutTheTokensAroundAnImageIsRefused) {
  const EditedDirectory directory("internvl");
  directory.edit("tokenizer.json", [](json& tokenizer) {
    json& added = tokenizer["added_tokens"];
    const auto is_start = [](const json& token) { return token.at("content") == "<img>"; };
    added.erase(std::find_if(added.begin(), added.end(), is_start));
  });
  const auto model = directory.open();
  const std::string message =
      test::message_of<support::UserError>([&] { static_cast<void>(prepare_image(*model, grey(56, 56))); });
  expect_mentions(message, {"<img>", "</img>"});
}

// Beyond that, what dynamic RoPE computes would depend on the other sequences of a batch.
TEST(InternVlPrompt, DynamicRopeEndsAtMaxPositionEmbeddings) {
  const EditedDirectory directory("internvl");
  const auto limit_to = [&](std::size_t n) {
    directory.edit("config.json",
                   [&](json& config) { config["text_config"]["max_position_embeddings"] = n; });
    return directory.open();
  };
  const auto prepare = [](const model::Model& model) { return model.prepare({{"user", "hi", 0}}, {}, {}); };
  const std::size_t n = prepare(*limit_to(4096)).ids.size();
  const std::string message =
      test::message_of<support::UserError>([&] { static_cast<void>(prepare(*limit_to(n - 1))); });
  expect_mentions(message, {"max_position_embeddings", "dynamic", std::to_string(n).c_str()});

  const auto model = limit_to(n + 1);
  const model::Prompt prompt = prepare(*model);
  EXPECT_EQ(logits_of(*model, prompt, {7}).size(0), static_cast<std::int64_t>(n + 1));
  const std::string too_long = test::message_of<support::PluginError>([&] {
    static_cast<void>(logits_of(*model, prompt, {7, 7}));
  });
  expect_mentions(too_long, {"max_position_embeddings", "dynamic"});
}

// ---- tiles ------------------------------------------------------------------------------------------------

TEST(InternVlTiles, AnImageOfSeveralTilesHasAThumbnail) {
  const auto model = EditedDirectory("internvl").open();
  const model::PreparedImage one = prepare_image(*model, grey(56, 56));
  EXPECT_EQ(one.grid[0], 1);
  EXPECT_EQ(one.n_tokens, 4);
  const model::PreparedImage several = prepare_image(*model, grey(168, 112));
  EXPECT_EQ(several.grid[0], 3 * 2 + 1);
  EXPECT_EQ(several.n_tokens, 7 * 4);
  EXPECT_EQ(several.values.size(0), 7 * 16);
}

TEST(InternVlTiles, LimitsMayBeGivenInTilesOrPixels) {
  const EditedDirectory directory("internvl");
  const auto tiles = [&](const std::function<void(json&)>& change) {
    directory.edit("preprocessor_config.json", change);
    return prepare_image(*directory.open(), grey(560, 560)).grid[0];
  };
  EXPECT_EQ(tiles([](json&) {}), 3 * 3 + 1);
  EXPECT_EQ(tiles([](json& config) { config["max_patches"] = 5; }), 2 * 2 + 1);
  EXPECT_EQ(tiles([](json& config) { config["max_pixels"] = 9 * 56 * 56; }), 3 * 3 + 1);
  EXPECT_EQ(tiles([](json& config) { config["max_pixels"] = 4 * 56 * 56 - 1; }), 1);
  EXPECT_EQ(tiles([](json& config) { config["min_pixels"] = 3 * 56 * 56 - 1; }), 3 * 1 + 1);
}

TEST(InternVlTiles, SizesThatDoNotFitAreRefused) {
  const auto refusal = [](const char* key, const json& value) {
    return internvl_failure("preprocessor_config.json", [&](json& config) { config[key] = value; });
  };
  expect_mentions(refusal("size", {{"height", 60}, {"width", 60}}), {"size", "60", "28"});
  expect_mentions(refusal("size", {{"height", 56}, {"width", 112}}), {"size", "width", "112", "56"});
  expect_mentions(refusal("max_pixels", 3000), {"max_pixels", "3000", "3136"});
  expect_mentions(refusal("min_patches", 13), {"max_patches", "12", "13"});
  expect_mentions(refusal("resample", 2), {"resample", "2", "3"});
  expect_mentions(refusal("do_resize", false), {"do_resize"});
}

TEST(InternVlTiles, WithoutAPreprocessorConfigTheyAreAsPublished) {
  const EditedDirectory directory("internvl");
  directory.remove("preprocessor_config.json");
  const Fixture fixture("internvl");
  const auto model = directory.open();
  const model::PreparedImage image = prepare_image(*model, fixture.load("image_resize"));
  EXPECT_TRUE(is_close(image.values, fixture.golden("image_resize.pixel_values"), 1e-5));
}

}  // namespace
}  // namespace graft::parity
