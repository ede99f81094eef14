// SPDX-License-Identifier: Apache-2.0
#include "adapt/peft_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "support/error.h"
#include "tests/adapt/qwen_sites.h"

namespace graft::adapt {
namespace {

struct Model : test::QwenSites {
  std::vector<std::string> modules;
  Model() {
    for (const auto& param : params) modules.push_back(module_of(param.name));
  }
  // Names of the sites that `keep` accepts.
  template <typename Keep>
  [[nodiscard]] std::vector<std::string> adapted(Keep keep) const {
    std::vector<std::string> names_kept;
    for (const auto& site : sites) {
      if (keep(site.name)) names_kept.push_back(site.name);
    }
    return names_kept;
  }
  // What PEFT adapts for these targets: every module counts, linear or not.
  [[nodiscard]] std::vector<std::string> selected(const TargetModules& targets) const {
    TargetSpec spec;
    spec.names = targets.names;
    spec.exclude_pattern = targets.exclude_pattern;
    const TargetMatcher matcher(spec);
    std::vector<std::string> names_kept;
    for (const auto& module : modules) {
      if (matcher.selects(module)) names_kept.push_back(module);
    }
    return names_kept;
  }
};

bool is_language(const std::string& name) {
  return name.starts_with("model.language_model.");
}
bool is_visual(const std::string& name) {
  return name.starts_with("model.visual.");
}

TEST(PeftConfig, TheDecoderIsDescribedByEndingsAndAnExclusionOfTheVisionEncoder) {
  const Model model;
  const auto adapted = model.adapted(is_language);
  const auto targets = describe_targets(adapted, model.modules);
  EXPECT_EQ(targets.names, (std::vector<std::string>{"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj",
                                                     "up_proj", "v_proj"}));
  EXPECT_EQ(targets.exclude_pattern, R"((.*\.)?visual(\..*)?)");
  EXPECT_EQ(model.selected(targets), adapted);
  const auto without = describe_targets(adapted, model.modules, /*may_exclude=*/false);
  EXPECT_TRUE(without.exclude_pattern.empty());
  EXPECT_EQ(model.selected(without), adapted);
}

TEST(PeftConfig, EndingsThatMatchNothingElseNeedNoExclusion) {
  const Model model;
  const auto adapted =
      model.adapted([](const auto& name) { return name.ends_with("q_proj") || name.ends_with("v_proj"); });
  const auto targets = describe_targets(adapted, model.modules);
  EXPECT_EQ(targets.names, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_TRUE(targets.exclude_pattern.empty());
}

TEST(PeftConfig, TheVisionEncoderIsDescribedWithoutTheConvolutionThatSharesAName) {
  const Model model;
  const auto adapted = model.adapted(is_visual);
  const auto targets = describe_targets(adapted, model.modules);
  EXPECT_EQ(model.selected(targets), adapted);
  EXPECT_NE(std::find(targets.names.begin(), targets.names.end(), "mlp.0"), targets.names.end());
}

TEST(PeftConfig, SomeLayersOfManyAreDescribedExactly) {
  const Model model;
  const auto one_layer =
      model.adapted([](const auto& name) { return name.starts_with("model.language_model.layers.1."); });
  EXPECT_EQ(model.selected(describe_targets(one_layer, model.modules)), one_layer);
  const auto one_site =
      model.adapted([](const auto& name) { return name.ends_with("layers.0.mlp.down_proj"); });
  EXPECT_EQ(model.selected(describe_targets(one_site, model.modules)), one_site);
  const auto all = model.adapted([](const auto&) { return true; });
  EXPECT_EQ(model.selected(describe_targets(all, model.modules)), all);
}

// PEFT: test_find_minimal_target_modules, test_suffix_is_substring_of_other_suffix.
TEST(PeftConfig, MinimalEndingsSeparateWithTheFewestParts) {
  const std::vector<std::string> adapted = {"m.enc.0.q", "m.enc.1.q", "m.enc.0.o"};
  EXPECT_EQ(minimal_endings(adapted, {"m.enc.0.k"}), (std::vector<std::string>{"o", "q"}));
  EXPECT_EQ(minimal_endings(adapted, {"m.dec.0.q"}), (std::vector<std::string>{"1.q", "enc.0.q", "o"}));
}

TEST(PeftConfig, TheFileHasTheStrategysFieldsAndTheSharedOnes) {
  const auto config =
      adapter_config({{"peft_type", "LORA"}, {"r", 4}}, "/models/base", {{"q_proj"}, ".*visual.*"});
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["base_model_name_or_path"], "/models/base");
  EXPECT_EQ(config["target_modules"], nlohmann::json::array({"q_proj"}));
  EXPECT_EQ(config["exclude_modules"], ".*visual.*");
  EXPECT_EQ(config["inference_mode"], true);
  EXPECT_EQ(config["task_type"], "CAUSAL_LM");
  EXPECT_TRUE(config["auto_mapping"].is_null());
}

TEST(PeftConfig, TargetsAreReadFromListsExpressionsAndAllLinear) {
  auto spec =
      shared_fields({{"target_modules", {"q_proj", "v_proj"}}, {"exclude_modules", ".*visual.*"}}, "dir")
          .targets;
  EXPECT_EQ(spec.names, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(spec.exclude_pattern, ".*visual.*");
  EXPECT_EQ(spec.components.size(), 4u);
  EXPECT_TRUE(shared_fields({{"target_modules", "all-linear"}}, "dir").targets.all_linear);
  EXPECT_EQ(shared_fields({{"target_modules", ".*q_proj"}}, "dir").targets.pattern, ".*q_proj");
}

TEST(PeftConfig, LayersToTransformIsReadAsANumberOrAList) {
  const auto layers = [](const char* text) {
    return shared_fields(nlohmann::ordered_json::parse(text), "dir").targets;
  };
  const auto one =
      layers(R"({"target_modules": ["q"], "layers_to_transform": 2, "layers_pattern": "layers"})");
  EXPECT_EQ(one.layers, std::vector<std::int64_t>{2});
  EXPECT_EQ(one.layers_patterns, std::vector<std::string>{"layers"});
  const auto none =
      layers(R"({"target_modules": ["q"], "layers_to_transform": null, "layers_pattern": [""]})");
  EXPECT_TRUE(none.layers.empty() && none.layers_patterns.empty());
  for (const char* wrong :
       {R"({"target_modules": ["q"], "layers_to_transform": ["a"]})",
        R"({"target_modules": ".*q", "layers_to_transform": [1]})",
        R"({"target_modules": ["q"], "layers_to_transform": [1], "layers_pattern": 3})"}) {
    try {
      static_cast<void>(layers(wrong));
      FAIL() << wrong;
    } catch (const support::UserError& e) {
      EXPECT_NE(std::string(e.what()).find("layers_"), std::string::npos) << e.what();
    }
  }
}

TEST(PeftConfig, SharedFieldsAreReadInWrittenOrder) {
  const auto fields =
      shared_fields({{"target_modules", {"q_proj"}},
                     {"modules_to_save", {"lm_head"}},
                     {"rank_pattern", {{"layers.0.q_proj", 6}, {"a_later_key", 3}, {"q_proj", 4}}}},
                    "dir");
  EXPECT_EQ(fields.modules_to_save, std::vector<std::string>{"lm_head"});
  EXPECT_EQ(fields.rank_pattern.value({"model.layers.0.q_proj"}), 6.0);
  EXPECT_EQ(fields.rank_pattern.value({"model.layers.1.q_proj"}), 4.0);
  EXPECT_EQ(fields.rank_pattern.value({"model.layers.1.kq_proj"}), 0.0);
  EXPECT_THROW(static_cast<void>(shared_fields({{"target_modules", nullptr}}, "dir")), support::UserError);
  EXPECT_THROW(static_cast<void>(shared_fields({{"target_modules", {1, 2}}}, "dir")), support::UserError);
}

}  // namespace
}  // namespace graft::adapt
