// SPDX-License-Identifier: Apache-2.0
// Layers, ranks by pattern and whole copies as they arrive on a model: attached, shown, saved and loaded.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "adapt/adapter.h"
#include "model/attention.h"
#include "model/packed_input.h"
#include "support/error.h"
#include "support/files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kSeven = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                         "gate_proj", "up_proj", "down_proj"};

AttachOptions lora(nlohmann::json params = {{"r", 4}}) {
  AttachOptions options;
  options.strategy = "lora";
  options.params = std::move(params);
  options.targets.names = kSeven;
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  return options;
}

void randomize(const Adapter& adapter) {
  const at::NoGradGuard no_grad;
  for (const auto& tensor : adapter.tensors()) tensor.tensor.copy_(at::randn_like(tensor.tensor) * 0.05);
}

at::Tensor logits(const model::Model& model) {
  const at::NoGradGuard no_grad;
  const auto made = tests::tiny_prompt(model, "hello", "");
  model::PackedSequences sequences;
  sequences.prompt = &made.prompt;
  const std::vector<model::PackedSequences> groups = {sequences};
  return model.head(model.decode(model::pack_input(groups, model.position_rank()),
                                 model::packed_attention(model::packed_groups(groups)), {}),
                    {});
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const support::Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(AttachedTargets, TheSummaryHasRanksAlphasCopiesAndATotal) {
  const auto model = tests::open_tiny_model();
  auto options = lora({{"r", 4}, {"alpha", 8}});
  options.targets.names = {"q_proj", "v_proj"};
  options.rank_pattern = {{{"layers.0.self_attn.q_proj", 2}, {"layers.1.self_attn.q_proj", 6}},
                          "peft.rank_pattern"};
  options.alpha_pattern = {{{"v_proj", 2.5}}, "peft.alpha_pattern"};
  options.modules_to_save = {"language_model.norm"};
  const auto adapter = Adapter::attach(*model, tests::tiny_registry(), options);
  const auto text = adapter->summary();
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    rows.emplace_back(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>());
  }
  using Row = std::vector<std::string>;
  EXPECT_EQ(rows[1], (Row{"component", "layer", "count", "in", "->", "out", "rank", "alpha", "trained"}))
      << text;
  EXPECT_EQ(rows[2], (Row{"language", "norm", "(whole", "copy)", "1", "128"})) << text;
  EXPECT_EQ(rows[3], (Row{"language", "q_proj", "4", "128", "->", "128", "2", "-", "6", "8", "4,096"}))
      << text;
  EXPECT_EQ(rows[4][6], "4") << text;
  EXPECT_EQ(rows[4][7], "2.5") << text;
  EXPECT_EQ(rows[5].front(), "total") << text;
  EXPECT_EQ(rows[5][1], "9") << text;
  std::string total = rows[5][2];
  std::erase(total, ',');
  EXPECT_EQ(total, std::to_string(adapter->trained_parameters())) << text;
}

// The values of every layer survive in a file, whose entries need no order.
TEST(AttachedTargets, RankAndAlphaPatternsAreTheSameAfterLoading) {
  const test::TemporaryDirectory scratch;
  const auto model = tests::open_tiny_model();
  auto options = lora({{"r", 4}, {"alpha", 8}});
  options.rank_pattern = {
      {{"layers.1.self_attn.q_proj", 3}, {"q_proj", 2}, {".*layers.0.*", 6}, {"mlp.up_proj", 5}},
      "peft.rank_pattern"};
  options.alpha_pattern = {{{R"(^model\.language_model\.layers\.[01]\..*proj)", 3}, {".*", 2.5}},
                           "peft.alpha_pattern"};
  std::vector<std::vector<std::int64_t>> sizes;
  at::Tensor expected;
  {
    const auto adapter = Adapter::attach(*model, tests::tiny_registry(), options);
    randomize(*adapter);
    for (const auto& tensor : adapter->tensors()) sizes.push_back(tensor.tensor.sizes().vec());
    expected = logits(*model);
    adapter->save(scratch / "adapter");
  }
  const auto config = nlohmann::json::parse(support::read_file(scratch / "adapter/adapter_config.json"));
  EXPECT_EQ(config["rank_pattern"][R"(^model\.language_model\.layers\.1\.self_attn\.q_proj)"], 3);
  EXPECT_EQ(config["rank_pattern"][R"(^model\.language_model\.layers\.0\.self_attn\.q_proj)"], 2);
  EXPECT_EQ(config["rank_pattern"][R"(^model\.language_model\.layers\.0\.mlp\.up_proj)"], 6);
  EXPECT_EQ(config["alpha_pattern"].size(), 28u);
  const auto loaded = Adapter::load(*model, tests::tiny_registry(), scratch / "adapter");
  for (std::size_t i = 0; i < sizes.size(); ++i)
    EXPECT_EQ(loaded->tensors()[i].tensor.sizes().vec(), sizes[i]);
  EXPECT_TRUE(at::equal(logits(*model), expected));
}

TEST(AttachedTargets, PatternsThatFitNothingOrContradictEachOtherAreErrors) {
  const auto model = tests::open_tiny_model();
  const auto attach_error = [&](const AttachOptions& options) {
    return error_of([&] { static_cast<void>(Adapter::attach(*model, tests::tiny_registry(), options)); });
  };
  auto options = lora();
  options.rank_pattern = {{{"gate_prj", 2}}, "peft.rank_pattern"};
  EXPECT_NE(attach_error(options).find("did you mean \"gate_proj\"?"), std::string::npos)
      << attach_error(options);
  options.rank_pattern = {{{"q_proj", 2}, {"layers.0.self_attn.q_proj", 3}}, "peft.rank_pattern", false};
  EXPECT_NE(attach_error(options).find("write a list"), std::string::npos) << attach_error(options);
  options.strategy = "full";
  options.params = nlohmann::json::object();
  options.targets = {};
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  options.rank_pattern = {{{"q_proj", 2}}, "peft.rank_pattern"};
  EXPECT_NE(attach_error(options).find("has no effect with peft.strategy=full"), std::string::npos);
}

TEST(AttachedTargets, LayersToTransformIsSavedExactly) {
  const test::TemporaryDirectory scratch;
  const auto model = tests::open_tiny_model();
  auto options = lora();
  options.targets.layers = {1, 3};
  const auto adapter = Adapter::attach(*model, tests::tiny_registry(), options);
  EXPECT_EQ(adapter->tensors().size(), 2u * 7u * 2u);
  adapter->save(scratch / "adapter");
  const auto loaded = Adapter::load(*model, tests::tiny_registry(), scratch / "adapter");
  ASSERT_EQ(loaded->tensors().size(), adapter->tensors().size());
  for (std::size_t i = 0; i < loaded->tensors().size(); ++i)
    EXPECT_EQ(loaded->tensors()[i].name, adapter->tensors()[i].name);
}

// In PEFT they silently reach the MLPs of Qwen2.5-VL's vision encoder.
TEST(AttachedTargets, TheUsualSevenNamesAdaptTheLanguageModelUnlessVisionIsSelected) {
  int with_vision = 0, with_names_there = 0;
  for (const auto& fixture : support::list_directories(fs::path(GRAFT_SOURCE_DIR) / "tests/parity/data")) {
    if (!fixture.filename().string().ends_with("_tiny")) continue;
    model::OpenOptions open_options;
    open_options.directory = fixture;
    const auto model = model::Model::open(tests::tiny_registry(), open_options);
    const bool has_vision = std::any_of(model->sites().begin(), model->sites().end(), [](const auto& site) {
      return site.component == GRAFT_COMPONENT_VISION;
    });
    if (!has_vision) continue;
    ++with_vision;
    auto options = lora();
    const auto present = [&](std::int32_t component) {
      std::vector<std::string> names;
      for (const auto& name : kSeven) {
        const bool is_there = std::any_of(
            model->sites().begin(), model->sites().end(),
            [&](const auto& site) { return site.component == component && matches_entry(site.name, name); });
        if (is_there) names.push_back(name);
      }
      return names;
    };
    options.targets.names = present(GRAFT_COMPONENT_LANGUAGE);
    EXPECT_GE(options.targets.names.size(), 5u)
        << fixture;  // GLM's gate and up projection are one, of another name
    for (const auto& tensor : Adapter::attach(*model, tests::tiny_registry(), options)->tensors())
      EXPECT_EQ(tensor.component, GRAFT_COMPONENT_LANGUAGE) << fixture << ' ' << tensor.name;
    if (present(GRAFT_COMPONENT_VISION).empty()) continue;
    ++with_names_there;
    options.targets.components.push_back(GRAFT_COMPONENT_VISION);
    const auto both = Adapter::attach(*model, tests::tiny_registry(), options);
    EXPECT_TRUE(std::any_of(both->tensors().begin(), both->tensors().end(), [](const AdapterTensor& tensor) {
      return tensor.component == GRAFT_COMPONENT_VISION;
    })) << fixture;
  }
  EXPECT_GE(with_vision, 4);
  EXPECT_GE(with_names_there, 1);
}

}  // namespace
}  // namespace graft::adapt
