// SPDX-License-Identifier: Apache-2.0
// What the families accept as config.json, preprocessor_config.json and chat template, and what they say about the rest.
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "support/error.h"
#include "tests/parity/edited_directory.h"
#include "tests/parity/golden.h"
#include "tests/support/errors.h"

namespace graft::parity {
namespace {

using nlohmann::json;

// As transformers 5 writes it.
void nest(json& config) {
  json text;
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "rms_norm_eps", "vocab_size", "hidden_act"}) {
    text[key] = config.at(key);
    config.erase(key);
  }
  text["rope_parameters"] = {{"rope_type", "default"},
                             {"type", "mrope"},
                             {"rope_theta", config.at("rope_theta")},
                             {"mrope_section", config.at("rope_scaling").at("mrope_section")}};
  config.erase("rope_theta");
  config.erase("rope_scaling");
  config["text_config"] = text;
}

std::vector<std::string> names(const model::Model& model) {
  std::vector<std::string> out;
  for (const model::Param& param : model.params()) out.push_back(param.name);
  return out;
}

std::string rendered(const model::Model& model) {
  return model.render({{"user", "hi", 0}}, true);
}

TEST(FamilyConfig, TheNestedFormDeclaresTheSameModel) {
  const EditedDirectory flat;
  const std::vector<std::string> expected = names(*flat.open());
  flat.edit("config.json", nest);
  EXPECT_EQ(names(*flat.open()), expected);
}

TEST(FamilyConfig, EveryLinearLayerIsASiteOfItsComponent) {
  const EditedDirectory directory;
  const auto model = directory.open();
  std::map<std::int32_t, int> counts;
  for (const model::Site& site : model->sites()) ++counts[site.component];
  EXPECT_EQ(counts[GRAFT_COMPONENT_LANGUAGE], 4 * 7);
  EXPECT_EQ(counts[GRAFT_COMPONENT_VISION], 4 * 5);
  EXPECT_EQ(counts[GRAFT_COMPONENT_PROJECTOR], 2);
  EXPECT_EQ(counts[GRAFT_COMPONENT_HEAD], 1);
  EXPECT_EQ(model->sites()[model->head_site()].name, "lm_head");
  const auto has = [&](const char* name) {
    return std::any_of(model->sites().begin(), model->sites().end(),
                       [&](const model::Site& site) { return site.name == name; });
  };
  EXPECT_TRUE(has("model.language_model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(has("model.visual.blocks.0.attn.qkv"));
  EXPECT_TRUE(has("model.visual.merger.mlp.2"));
}

TEST(FamilyConfig, SegmentsNestTheirPartsWithTheirCosts) {
  const EditedDirectory directory;
  const auto model = directory.open();
  const std::vector<model::Segment>& segments = model->segments();
  ASSERT_EQ(segments.size(), (4u + 4u) * 3u);
  EXPECT_EQ(segments[0].name, "language.layers.0");
  EXPECT_EQ(segments[1].name, "language.layers.0.attn");
  EXPECT_EQ(segments[2].name, "language.layers.0.mlp");
  EXPECT_EQ(segments[1].parent, 0);
  EXPECT_EQ(segments[2].parent, 0);
  EXPECT_EQ(segments[0].activation_values_per_token,
            segments[1].activation_values_per_token + segments[2].activation_values_per_token);
  EXPECT_EQ(segments[0].flops_per_token, segments[1].flops_per_token + segments[2].flops_per_token);
  EXPECT_EQ(segments.back().name, "vision.blocks.3.mlp");
  EXPECT_EQ(segments.back().parent, static_cast<std::int32_t>(segments.size()) - 3);
}

TEST(FamilyConfig, ATiedHeadIsTheEmbedding) {
  const EditedDirectory directory;
  directory.edit("config.json", [](json& config) { config["tie_word_embeddings"] = true; });
  const auto model = directory.open();
  const model::Site& head = model->sites()[model->head_site()];
  const model::Param& weight = model->params()[static_cast<std::size_t>(head.weight)];
  EXPECT_EQ(model->params()[static_cast<std::size_t>(weight.tied_to)].name,
            "model.language_model.embed_tokens.weight");
}

TEST(FamilyConfig, AMissingKeyIsNamed) {
  expect_mentions(failure_of("config.json", [](json& config) { config.erase("hidden_size"); }),
                  {"config.json", "hidden_size", "missing"});
  expect_mentions(failure_of("config.json", [](json& config) { config.erase("vision_config"); }),
                  {"vision_config"});
  expect_mentions(failure_of("config.json", [](json& config) { config["vision_config"].erase("depth"); }),
                  {"vision_config", "depth", "missing"});
}

TEST(FamilyConfig, AWrongTypeIsNamed) {
  expect_mentions(failure_of("config.json", [](json& config) { config["num_hidden_layers"] = "four"; }),
                  {"config.json", "num_hidden_layers", "expected an integer"});
}

TEST(FamilyConfig, WhatTheFamilyDoesNotOfferIsRefused) {
  expect_mentions(failure_of("config.json", [](json& config) { config["hidden_act"] = "gelu"; }),
                  {"hidden_act", "gelu", "silu"});
  expect_mentions(failure_of("config.json", [](json& config) { config["rope_scaling"]["type"] = "dynamic"; }),
                  {"rope_type", "dynamic"});
  expect_mentions(failure_of("config.json", [](json& config) { config["use_sliding_window"] = true; }),
                  {"use_sliding_window"});
}

TEST(FamilyConfig, SizesThatDoNotFitAreRefused) {
  expect_mentions(failure_of("config.json",
                             [](json& config) {
                               config["rope_scaling"]["mrope_section"] = {4, 6, 7};
                             }),
                  {"mrope_section", "17", "16"});
  expect_mentions(failure_of("config.json", [](json& config) { config["num_key_value_heads"] = 3; }),
                  {"num_attention_heads", "num_key_value_heads"});
  expect_mentions(failure_of("config.json", [](json& config) { config["num_hidden_layers"] = 0; }),
                  {"num_hidden_layers"});
  expect_mentions(
      failure_of("config.json", [](json& config) { config["vision_config"]["out_hidden_size"] = 64; }),
      {"out_hidden_size", "64", "128"});
  expect_mentions(failure_of("preprocessor_config.json", [](json& config) { config["patch_size"] = 16; }),
                  {"preprocessor_config.json", "patch_size", "16", "14"});
  expect_mentions(
      failure_of("preprocessor_config.json", [](json& config) { config["min_pixels"] = 1 << 20; }),
      {"preprocessor_config.json", "min_pixels", "max_pixels"});
}

TEST(FamilyConfig, PixelLimitsMayStandUnderSize) {
  const EditedDirectory directory;
  directory.edit("preprocessor_config.json", [](json& config) {
    config.erase("min_pixels");
    config.erase("max_pixels");
    config["size"] = {{"shortest_edge", 3136}, {"longest_edge", 56 * 56}};
  });
  const auto model = directory.open();
  const model::Prompt prompt = Fixture("qwen2_5_vl").prepare_question(*model, "?", "image");
  EXPECT_LE(prompt.images.at(0).processed_width * prompt.images[0].processed_height, 56 * 56);
}

// ---- GLM-4.1V -----------------------------------------------------------------------------------------------

TEST(Glm4vConfig, RotaryKeysMayStandInRopeParameters) {
  const EditedDirectory directory("glm4v");
  const std::vector<std::string> expected = names(*directory.open());
  directory.edit("config.json", [](json& config) {
    json& text = config["text_config"];
    text["rope_parameters"] = text["rope_scaling"];
    text["rope_parameters"]["rope_theta"] = text["rope_theta"];
    text["rope_parameters"]["partial_rotary_factor"] = text["partial_rotary_factor"];
    for (const char* key : {"rope_scaling", "rope_theta", "partial_rotary_factor"}) text.erase(key);
  });
  EXPECT_EQ(names(*directory.open()), expected);
}

TEST(Glm4vConfig, SectionsMustFitTheRotatingPartOfAHead) {
  const auto factor = [](const json& value) {
    return failure_of(
        "config.json", [&](json& config) { config["text_config"]["partial_rotary_factor"] = value; },
        "glm4v");
  };
  expect_mentions(factor(1.0), {"mrope_section", "adds up to 4", "8"});
  expect_mentions(factor(0.2), {"partial_rotary_factor", "3 of a head's 16", "pairs"});
  expect_mentions(factor(1.5), {"partial_rotary_factor", "at most 1"});
}

TEST(Glm4vConfig, GateAndUpAreOneSiteAndTheMergerIsTheProjector) {
  const auto model = EditedDirectory("glm4v").open();
  std::vector<std::string> projector;
  std::size_t gate_up = 0;
  for (const model::Site& site : model->sites()) {
    gate_up += site.name.ends_with("mlp.gate_up_proj") ? 1 : 0;
    if (site.component == GRAFT_COMPONENT_PROJECTOR) projector.push_back(site.name);
  }
  EXPECT_EQ(gate_up, model->attention_layers());
  const std::string merger = "model.visual.merger.";
  EXPECT_EQ(projector, (std::vector<std::string>{merger + "proj", merger + "gate_proj", merger + "up_proj",
                                                 merger + "down_proj"}));
  std::size_t downsample = 0;
  for (const model::Param& param : model->params()) {
    const bool is_projector = param.component == GRAFT_COMPONENT_PROJECTOR;
    if (is_projector && param.name.starts_with("model.visual.downsample.")) ++downsample;
  }
  EXPECT_EQ(downsample, 2u);  // weight and bias
}

TEST(Glm4vConfig, OnlyTheTemplateOfGlm41vIsTaken) {
  const EditedDirectory directory("glm4v");
  const auto with_template = [&](const json& text) {
    directory.edit("tokenizer_config.json", [&](json& config) { config["chat_template"] = text; });
    return rendered(*directory.open());
  };
  const std::string markers =
      "[gMASK]<sop>{{ '<|user|>' }}<|begin_of_image|><|image|><|end_of_image|><|assistant|>\n";
  const std::string expected = "[gMASK]<sop><|user|>\nhi<|assistant|>\n";
  EXPECT_EQ(with_template(nullptr), expected);
  // One with the same markers, GLM-4.5V's, which rewrites reasoning, and Qwen's.
  for (const std::string& other :
       {markers, markers + "{{ '<think></think>' }}", std::string("<|im_start|>")}) {
    const std::string message =
        test::message_of<support::UserError>([&] { static_cast<void>(with_template(other)); });
    expect_mentions(message, {"chat template", "GLM-4.1V"});
  }
}

TEST(Glm4vConfig, AnotherRoleIsRefused) {
  const auto model = EditedDirectory("glm4v").open();
  const std::string message = test::message_of<support::UserError>([&] {
    static_cast<void>(model->render({{"observation", "hi", 0}}, true));
  });
  expect_mentions(message, {"observation", "system, user or assistant"});
}

// ---- families of text -------------------------------------------------------------------------------------

TEST(TextFamilyConfig, RopeScalingsThatAreNotOfferedAreRefusedByName) {
  const auto refused = [](const char* type, std::initializer_list<const char*> words) {
    const auto change = [&](json& config) { config["rope_scaling"] = {{"type", type}, {"factor", 2.0}}; };
    for (const char* family : {"qwen2", "qwen3", "llama"}) {
      const std::string message = failure_of("config.json", change, family);
      expect_mentions(message, {"config.json: rope_scaling: rope_type", type});
      expect_mentions(message, words);
    }
  };
  refused("dynamic", {"longest sequence of a batch", "max_position_embeddings", "\"default\"", "\"yarn\""});
  refused("longrope", {"longest sequence of a batch", "\"yarn\""});
  refused("ntk", {"linear", "llama3", "yarn"});
}

TEST(TextFamilyConfig, RopeScalingsThatDoNotFitAreNamed) {
  const auto message = [](const json& scaling) {
    return failure_of(
        "config.json", [&](json& config) { config["rope_scaling"] = scaling; }, "qwen2");
  };
  expect_mentions(message({{"rope_type", "linear"}}), {"rope_scaling", "factor", "missing"});
  expect_mentions(message({{"rope_type", "yarn"}, {"factor", 0.5}}), {"factor", "less than 1"});
  expect_mentions(message({{"rope_type", "yarn"}, {"factor", 2.0}, {"beta_fast", 1.0}, {"beta_slow", 4.0}}),
                  {"beta_fast", "less than beta_slow"});
  expect_mentions(message({{"rope_type", "yarn"}, {"factor", 2.0}, {"truncate", 1}}), {"truncate"});
  expect_mentions(
      failure_of(
          "config.json", [](json& config) { config["rope_scaling"].erase("low_freq_factor"); }, "llama"),
      {"rope_scaling", "low_freq_factor", "missing"});
}

TEST(TextFamilyConfig, SlidingWindowsInLayerTypesAreRefused) {
  const auto change = [](json& config) { config["layer_types"] = {"full_attention", "sliding_attention"}; };
  expect_mentions(failure_of("config.json", change, "qwen3"), {"layer_types", "sliding_attention"});
}

TEST(TextFamilyConfig, BiasesOfLlamaAreDeclaredAsTheConfigurationSays) {
  const EditedDirectory directory("llama");
  const std::size_t without = directory.open()->params().size();
  directory.edit("config.json", [](json& config) { config["attention_bias"] = true; });
  EXPECT_EQ(directory.open()->params().size(), without + 2 * 4);
  directory.edit("config.json", [](json& config) { config["mlp_bias"] = true; });
  EXPECT_EQ(directory.open()->params().size(), without + 2 * 7);
}

TEST(TextFamilyConfig, AnArchitectureStandsInForAMissingModelType) {
  const EditedDirectory directory("qwen3");
  directory.edit("config.json", [](json& config) { config.erase("model_type"); });
  EXPECT_EQ(directory.open()->family(), "qwen3");
}

TEST(TextFamilyConfig, TheDateOfLlamasPromptsIsAParameter) {
  const EditedDirectory directory("llama");
  EXPECT_TRUE(test::contains(rendered(*directory.open()), "Today Date: 26 Jul 2024\n"));
  EXPECT_TRUE(
      test::contains(rendered(*directory.open(R"({"date": "1 Jan 2025"})")), "Today Date: 1 Jan 2025\n"));
}

}  // namespace
}  // namespace graft::parity
