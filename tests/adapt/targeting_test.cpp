// SPDX-License-Identifier: Apache-2.0
#include "adapt/targeting.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/error.h"
#include "tests/adapt/qwen_sites.h"

namespace graft::adapt {
namespace {

const std::vector<std::string> kSeven = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                         "gate_proj", "up_proj", "down_proj"};

TargetSpec language(std::vector<std::string> names) {
  TargetSpec spec;
  spec.names = std::move(names);
  spec.components = {GRAFT_COMPONENT_LANGUAGE};
  return spec;
}

TargetSpec everywhere(std::vector<std::string> names) {
  auto spec = language(std::move(names));
  spec.components = {GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_VISION, GRAFT_COMPONENT_PROJECTOR,
                     GRAFT_COMPONENT_HEAD};
  return spec;
}

std::set<std::string> selected(const TargetSpec& spec) {
  const test::QwenSites model;
  return model.names(select_sites(model.sites, spec).sites);
}

std::string error_of(const TargetSpec& spec) {
  try {
    selected(spec);
  } catch (const support::UserError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Targeting, TheUsualSevenNamesSelectTheDecoderOnlyWhenComponentsSayLanguage) {
  const auto sites = selected(language(kSeven));
  EXPECT_EQ(sites.size(), 14u);
  for (const auto& name : sites) EXPECT_TRUE(name.starts_with("model.language_model.")) << name;
}

TEST(Targeting, TheUsualSevenNamesAlsoReachTheVisionMlpWhenComponentsSaySo) {
  const auto sites = selected(everywhere(kSeven));
  EXPECT_EQ(sites.size(), 17u);
  EXPECT_TRUE(sites.count("model.visual.blocks.0.mlp.down_proj"));
  EXPECT_FALSE(sites.count("model.visual.blocks.0.attn.qkv"));
}

// PEFT: test_module_matching_lora, test_one_targeted_module_list, test_two_targeted_module_list.
TEST(Targeting, AnEntryMatchesWholeNamePartsOnly) {
  EXPECT_TRUE(matches_entry("a.b.q_proj", "q_proj"));
  EXPECT_TRUE(matches_entry("a.b.q_proj", "b.q_proj"));
  EXPECT_TRUE(matches_entry("q_proj", "q_proj"));
  EXPECT_FALSE(matches_entry("a.b.vq_proj", "q_proj"));
  EXPECT_FALSE(matches_entry("q_proj", "b.q_proj"));
  EXPECT_FALSE(matches_entry("a.q_proj.b", "q_proj"));
}

TEST(Targeting, AFullNameAndAnEndingOfSeveralPartsSelectOneLayer) {
  EXPECT_EQ(selected(language({"model.language_model.layers.1.self_attn.q_proj"})).size(), 1u);
  EXPECT_EQ(selected(language({"layers.1.self_attn.q_proj"})),
            std::set<std::string>{"model.language_model.layers.1.self_attn.q_proj"});
}

// PEFT: test_maybe_include_all_linear_layers_lora, test_maybe_include_all_linear_does_not_target_classifier_head.
TEST(Targeting, AllLinearSparesTheHeadAndStaysWithinTheComponents) {
  TargetSpec spec = everywhere({});
  spec.all_linear = true;
  const auto all = selected(spec);
  EXPECT_EQ(all.size(), 21u);
  EXPECT_FALSE(all.count("lm_head"));
  EXPECT_TRUE(all.count("model.visual.merger.mlp.0"));
  spec.components = {GRAFT_COMPONENT_PROJECTOR};
  EXPECT_EQ(selected(spec),
            (std::set<std::string>{"model.visual.merger.mlp.0", "model.visual.merger.mlp.2"}));
}

TEST(Targeting, TheHeadIsSelectedWhenItIsNamed) {
  EXPECT_EQ(selected(everywhere({"lm_head"})).size(), 1u);
}

// PEFT: test_regex_matching_valid, test_one_targeted_module_regex, test_two_targeted_module_regex.
TEST(Targeting, APatternMatchesWholeNamesAndMayLookAhead) {
  TargetSpec spec = everywhere({});
  spec.pattern = R"(^(?!.*visual)(?=.*\bself_attn\b).*(?:q_proj|v_proj).*?)";
  EXPECT_EQ(selected(spec).size(), 4u);
  spec.pattern = R"(model\.visual\.(?:.*?\.)*?(qkv|proj))";
  EXPECT_EQ(selected(spec).size(), 2u);
  spec.pattern = "q_proj";  // whole names: a part is not enough
  EXPECT_NE(error_of(spec), "no error");
}

TEST(Targeting, AlternativesOfAPatternAreTriedUntilTheWholeNameMatches) {
  TargetSpec spec = everywhere({});
  spec.pattern = R"(lm|lm_head)";
  EXPECT_EQ(selected(spec), std::set<std::string>{"lm_head"});
}

// PEFT: test_two_excluded_module_regex, test_two_excluded_module_list, test_multiple_excluded_modules_list.
TEST(Targeting, ExclusionsWinAsListAndAsPattern) {
  TargetSpec spec = everywhere(kSeven);
  spec.exclude_pattern = ".*visual.*";
  EXPECT_EQ(selected(spec).size(), 14u);
  spec.exclude_pattern.clear();
  spec.exclude_names = {"down_proj", "layers.0.mlp.up_proj"};
  EXPECT_EQ(selected(spec).size(), 13u);
}

// PEFT: test_no_modules_matched.
TEST(Targeting, AMisspeltEntryIsAnErrorWithTheNearestName) {
  const auto message = error_of(language({"q_proj", "qate_proj"}));
  EXPECT_NE(message.find("\"qate_proj\""), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean \"gate_proj\""), std::string::npos) << message;
  EXPECT_NE(message.find("peft.target_modules"), std::string::npos) << message;
}

TEST(Targeting, AnEntryOfAnotherComponentIsAnErrorThatNamesTheComponent) {
  const auto message = error_of(language({"q_proj", "qkv"}));
  EXPECT_NE(message.find("\"qkv\""), std::string::npos) << message;
  EXPECT_NE(message.find("vision"), std::string::npos) << message;
}

// PEFT: test_exclude_modules_not_used.
TEST(Targeting, AnExclusionThatMatchesNothingIsAnErrorButOneOutsideOfTheComponentsIsNot) {
  TargetSpec spec = language(kSeven);
  spec.exclude_names = {"qkv"};
  EXPECT_EQ(selected(spec).size(), 14u);
  spec.exclude_names = {"dwon_proj"};
  EXPECT_NE(error_of(spec).find("did you mean \"down_proj\""), std::string::npos) << error_of(spec);
  spec.exclude_names.clear();
  spec.exclude_pattern = "vision.*";
  EXPECT_NE(error_of(spec).find("peft.exclude_modules"), std::string::npos) << error_of(spec);
}

TEST(Targeting, AMalformedPatternIsAnErrorThatShowsIt) {
  TargetSpec spec = everywhere({});
  spec.pattern = "model.(visual";
  const auto message = error_of(spec);
  EXPECT_NE(message.find("model.(visual"), std::string::npos) << message;
  EXPECT_NE(message.find("peft.target_modules"), std::string::npos) << message;
}

TEST(Targeting, APatternThatExplodesIsAnErrorAndNotAHang) {
  const ModulePattern pattern("(a+)+b", "peft.target_modules");
  EXPECT_TRUE(pattern.matches("aaab"));
  EXPECT_THROW(static_cast<void>(pattern.matches(std::string(4000, 'a') + "cb")), support::UserError);
}

TEST(Targeting, AQuotedPatternMatchesItselfOnly) {
  const std::string name = "a.b+(c)[d]{2}|e^f$g\\h*?";
  EXPECT_TRUE(ModulePattern(quote_pattern(name), "test").matches(name));
  EXPECT_FALSE(ModulePattern(quote_pattern("a.b"), "test").matches("axb"));
}

TEST(Targeting, BaseParametersAreSelectedByTheirModule) {
  const test::QwenSites model;
  const auto count = [&](const TargetSpec& spec) {
    const auto chosen = select_params(model.params, spec);
    return std::count(chosen.begin(), chosen.end(), true);
  };
  TargetSpec all = language({});
  EXPECT_EQ(count(all), 16);                           // 14 linear weights and two norms
  EXPECT_EQ(count(language({"input_layernorm"})), 2);  // modules that are no linear layers count, too
  EXPECT_EQ(count(language({"q_proj"})), 2);
  all.exclude_pattern = ".*norm";
  EXPECT_EQ(count(all), 14);
  EXPECT_THROW(count(language({"patch_embed"})), support::UserError);
}

TEST(Targeting, ATiedParameterSelectsItsOwner) {
  test::QwenSites model;
  model.params.back().tied_to = 0;  // lm_head
  TargetSpec spec;
  spec.components = {GRAFT_COMPONENT_HEAD};
  const auto chosen = select_params(model.params, spec);
  EXPECT_TRUE(chosen.front());
  EXPECT_FALSE(chosen.back());
}

// PEFT's rule, from the comments and cases of its test_tuners_utils.py.
// PEFT: test_layers_to_transform_filters_by_layer_not_expert_index.
TEST(Targeting, ALayersNumberIsTheFirstInItsNameThatOthersFollow) {
  const LayerFilter any({0}, {});
  const auto block = [](const LayerFilter& filter, const char* name) {
    return filter.block(name).value_or(-1);
  };
  EXPECT_EQ(block(any, "model.layers.12.self_attn.q_proj"), 12);
  EXPECT_EQ(block(any, "model.layers.1.experts.0.up_proj"), 1);  // not the expert's
  EXPECT_EQ(block(any, "model.visual.merger.mlp.0"), -1);
  EXPECT_EQ(block(any, "layers.0.q_proj"), -1);
  EXPECT_EQ(block(any, "model.norm"), -1);
  EXPECT_EQ(block(any, "model.layers1.x2.q_proj"), -1);
  const LayerFilter named({0}, {"h", "layers"});
  EXPECT_EQ(block(named, "layers.3.q_proj"), 3);
  EXPECT_EQ(block(named, "a.0.h.4.layers.5.q"), 4);
  EXPECT_EQ(block(named, "model.blocks.4.q_proj"), -1);
  EXPECT_EQ(block(named, "model.mylayers.4.q_proj"), -1);
  EXPECT_EQ(block(LayerFilter({0}, {"(layers|blocks)"}), "model.blocks.4.q_proj"), 4);
}

TEST(Targeting, LayersToTransformKeepsThoseLayers) {
  TargetSpec spec = everywhere(kSeven);
  spec.layers = {1};
  EXPECT_EQ(selected(spec).size(), 7u);
  spec.layers = {0};
  EXPECT_EQ(selected(spec).size(), 10u);  // the vision encoder has a block 0, too
  spec.layers_patterns = {"layers"};
  EXPECT_EQ(selected(spec).size(), 7u);
  spec.layers_patterns = {"blocks"};
  spec.names = {"gate_proj"};
  EXPECT_EQ(selected(spec), std::set<std::string>{"model.visual.blocks.0.mlp.gate_proj"});
  spec = everywhere({"q_proj", "model.language_model.layers.0.self_attn.v_proj"});
  spec.layers = {1};  // a whole name is meant, as in PEFT
  EXPECT_EQ(selected(spec).size(), 2u);
  spec = language({});
  spec.layers = {1};
  EXPECT_EQ(selected(spec).size(), 7u);  // of all linear layers
}

TEST(Targeting, LayersThatHoldNothingAreErrorsWithTheKnownOnes) {
  TargetSpec spec = language({"q_proj"});
  spec.layers = {1, 7};
  EXPECT_NE(
      error_of(spec).find("peft.layers_to_transform: 7 is the number of no block that holds target modules; "
                          "their numbers are: 0, 1"),
      std::string::npos)
      << error_of(spec);
  spec.layers = {1};
  spec.layers_patterns = {"layer"};
  EXPECT_NE(error_of(spec).find(
                "peft.layers_pattern: \"layer\" names no list of blocks of this model; did you mean "
                "\"layers\"?"),
            std::string::npos)
      << error_of(spec);
  spec = everywhere({"q_proj", "qkv"});
  spec.layers = {1};
  EXPECT_NE(error_of(spec).find("\"qkv\" matches no layer in the blocks of peft.layers_to_transform"),
            std::string::npos)
      << error_of(spec);
}

TEST(Targeting, ModulesToSaveAreWholePartsOrAnErrorWithTheNearestName) {
  const test::QwenSites model;
  const auto saved = select_modules_to_save(model.params, {"lm_head", "layers.1.mlp"});
  EXPECT_EQ(saved.names, (std::vector<std::string>{"lm_head", "model.language_model.layers.1.mlp"}));
  EXPECT_EQ(std::count(saved.params.begin(), saved.params.end(), true), 4);
  try {
    static_cast<void>(select_modules_to_save(model.params, {"lm_haed"}));
    FAIL() << "expected an error";
  } catch (const support::UserError& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean \"lm_head\""), std::string::npos) << e.what();
  }
}

TEST(Targeting, ComponentsHaveNames) {
  for (const char* name : {"language", "vision", "projector", "head"})
    EXPECT_EQ(component_name(component_code(name)), name);
  try {
    static_cast<void>(component_code("vison"));
    FAIL() << "expected an error";
  } catch (const support::UserError& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean \"vision\""), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace graft::adapt
