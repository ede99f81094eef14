// SPDX-License-Identifier: Apache-2.0
// Adapters on the tiny Qwen2.5-VL fixture.
#include "adapt/adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/tensor.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "model/attention.h"
#include "model/packed_input.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/files.h"

namespace graft::adapt {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kSeven = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                         "gate_proj", "up_proj", "down_proj"};

plugin::Registry& registry() {
  static auto* shared = [] {
    model::register_tensor_services();
    auto* made = new plugin::Registry(plugin::host_table());
    for (const auto& file : support::list_files(GRAFT_PLUGIN_DIR, ".so")) made->load(file);
    made->load(GRAFT_BINARY_DIR "/tests/plugins/test_strategies.so");
    return made;
  }();
  return *shared;
}

std::unique_ptr<model::Model> open_model(const std::string& dtype = "float32",
                                         const std::string& compute_dtype = "") {
  model::OpenOptions options;
  options.directory = fs::path(GRAFT_SOURCE_DIR) / "tests/parity/data/qwen2_5_vl_tiny";
  options.dtype = dtype;
  options.compute_dtype = compute_dtype;
  return model::Model::open(registry(), options);
}

AttachOptions lora(nlohmann::json params = {{"r", 4}}) {
  AttachOptions options;
  options.strategy = "lora";
  options.params = std::move(params);
  options.targets.names = kSeven;
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  options.seed = 5;
  return options;
}

AttachOptions full() {
  AttachOptions options;
  options.strategy = "full";
  options.targets.all_linear = true;
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  return options;
}

void randomize(const Adapter& adapter) {
  const at::NoGradGuard no_grad;
  for (const auto& tensor : adapter.tensors()) tensor.tensor.copy_(at::randn_like(tensor.tensor) * 0.05);
}

at::Tensor logits(const model::Model& model, const model::PassOptions& options = {}) {
  const at::NoGradGuard no_grad;
  const auto prompt = model.prepare({{"user", "hello", 0}}, {}, {});
  model::PackedSequences sequences;
  sequences.prompt = &prompt;
  const std::vector<model::PackedSequences> groups = {sequences};
  const auto hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                   model::packed_attention(model::packed_groups(groups)), options);
  return model.head(hidden, options);
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const support::Error& e) {
    return e.what();
  }
  return "no error";
}

class Scratch {
 public:
  Scratch() : root_(fs::temp_directory_path() / ("graft_adapter_" + std::to_string(::getpid()))) {
    fs::create_directories(root_);
  }
  ~Scratch() { fs::remove_all(root_); }
  [[nodiscard]] fs::path operator/(const std::string& name) const { return root_ / name; }

 private:
  fs::path root_;
};

nlohmann::json read_json(const fs::path& file) {
  return nlohmann::json::parse(support::read_file(file));
}

TEST(Adapter, AFreshOneChangesNothingAndFreezesTheBase) {
  const auto model = open_model();
  const auto before = logits(*model);
  const auto adapter = Adapter::attach(*model, registry(), lora());
  EXPECT_TRUE(at::equal(logits(*model), before));
  EXPECT_TRUE(adapter->base_is_reference());
  EXPECT_EQ(adapter->tensors().size(), 4u * 7u * 2u);
  for (const auto& param : model->params()) EXPECT_FALSE(param.tensor.requires_grad()) << param.name;
  for (const auto& tensor : adapter->tensors()) EXPECT_TRUE(tensor.tensor.requires_grad()) << tensor.name;
  std::int64_t count = 0;
  for (const auto& tensor : adapter->tensors()) count += tensor.tensor.numel();
  EXPECT_EQ(adapter->trained_parameters(), count);
}

// PEFT: test_num_adapter_layers_small, test_nb_params_small.
TEST(Adapter, TheSummaryCountsLayersAndParameters) {
  const auto model = open_model();
  const auto text = Adapter::attach(*model, registry(), lora())->summary();
  EXPECT_NE(text.find("\"r\":4"), std::string::npos) << text;
  EXPECT_NE(text.find("28 of "), std::string::npos) << text;
  EXPECT_NE(text.find("gate_proj"), std::string::npos) << text;
  EXPECT_NE(text.find("trained parameters"), std::string::npos) << text;
}

TEST(Adapter, TheSeedAloneDecidesTheInitialValues) {
  const auto model = open_model();
  const auto first = Adapter::attach(*model, registry(), lora())->tensors()[0].tensor.clone();
  EXPECT_TRUE(at::equal(Adapter::attach(*model, registry(), lora())->tensors()[0].tensor, first));
  auto other = lora();
  other.seed = 6;
  EXPECT_FALSE(at::equal(Adapter::attach(*model, registry(), other)->tensors()[0].tensor, first));
}

TEST(Adapter, IsSavedAndLoadedToTheLastBit) {
  const Scratch scratch;
  const auto model = open_model();
  std::vector<at::Tensor> values;
  at::Tensor expected;
  {
    const auto adapter = Adapter::attach(*model, registry(), lora({{"r", 4}, {"alpha", 6}}));
    randomize(*adapter);
    for (const auto& tensor : adapter->tensors()) values.push_back(tensor.tensor.detach().clone());
    expected = logits(*model);
    adapter->save(scratch / "adapter");
  }
  EXPECT_FALSE(at::equal(logits(*model), expected));  // destruction unhooks
  const auto loaded = Adapter::load(*model, registry(), scratch / "adapter");
  EXPECT_EQ(loaded->strategy(), "lora");
  EXPECT_EQ(loaded->resolved_params()["alpha"], 6.0);
  EXPECT_FALSE(loaded->base_is_reference());
  ASSERT_EQ(loaded->tensors().size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_TRUE(at::equal(loaded->tensors()[i].tensor, values[i]));
  EXPECT_TRUE(at::equal(logits(*model), expected));
}

TEST(Adapter, TheConfigurationFileNamesExactlyTheAdaptedLayers) {
  const Scratch scratch;
  const auto model = open_model();
  const auto adapter = Adapter::attach(*model, registry(), lora());
  adapter->save(scratch / "adapter");
  const auto config = read_json(scratch / "adapter/adapter_config.json");
  auto names = kSeven;
  std::sort(names.begin(), names.end());
  EXPECT_EQ(config["target_modules"], nlohmann::json(names));
  EXPECT_EQ(config["exclude_modules"], R"((.*\.)?visual(\..*)?)");
  EXPECT_EQ(config["base_model_name_or_path"], model->directory().string());
  adapter->save(scratch / "adapter");  // replaces the directory
  EXPECT_EQ(Adapter::load(*model, registry(), scratch / "adapter")->tensors().size(),
            adapter->tensors().size());
}

TEST(Adapter, AWarmStartKeepsTheFilesLayersAndParameters) {
  const Scratch scratch;
  const auto model = open_model();
  {
    auto options = lora({{"r", 2}, {"alpha", 6}});
    options.targets.names = {"q_proj"};
    Adapter::attach(*model, registry(), options)->save(scratch / "adapter");
  }
  auto options = lora({{"dropout", 0.5}});
  options.adapter = scratch / "adapter";
  const auto warm = Adapter::attach(*model, registry(), options);
  EXPECT_EQ(warm->tensors().size(), 8u);
  const auto& params = warm->resolved_params();
  EXPECT_EQ(params["r"], 2);
  EXPECT_EQ(params["alpha"], 6.0);
  EXPECT_EQ(params["dropout"], 0.5);
  EXPECT_FALSE(warm->base_is_reference());
}

TEST(Adapter, AWarmStartWithAnotherRankIsAnErrorThatNamesTheTensor) {
  const Scratch scratch;
  const auto model = open_model();
  Adapter::attach(*model, registry(), lora({{"r", 2}}))->save(scratch / "adapter");
  auto options = lora({{"r", 4}});
  options.adapter = scratch / "adapter";
  const auto message = error_of([&] { static_cast<void>(Adapter::attach(*model, registry(), options)); });
  EXPECT_NE(message.find("lora_A.weight is [2, 128], expected [4, 128]"), std::string::npos) << message;
}

TEST(Adapter, WhatIsNotOfferedIsRefusedByName) {
  const Scratch scratch;
  const auto model = open_model();
  Adapter::attach(*model, registry(), lora())->save(scratch / "adapter");
  auto config = read_json(scratch / "adapter/adapter_config.json");
  config["use_qalora"] = true;
  std::ofstream(scratch / "adapter/adapter_config.json") << config;
  auto message = error_of([&] { static_cast<void>(Adapter::load(*model, registry(), scratch / "adapter")); });
  EXPECT_NE(message.find("use_qalora"), std::string::npos) << message;
  auto options = full();
  options.adapter = scratch / "adapter";
  message = error_of([&] { static_cast<void>(Adapter::attach(*model, registry(), options)); });
  EXPECT_NE(message.find("\"full\""), std::string::npos) << message;
  message = error_of([&] { static_cast<void>(Adapter::load(*model, registry(), scratch / "nothing")); });
  EXPECT_NE(message.find("adapter_config.json"), std::string::npos) << message;
}

TEST(Adapter, AStrategyThatPeftDoesNotKnowIsSavedForGraftAlone) {
  const Scratch scratch;
  const auto model = open_model();
  auto options = lora(nlohmann::json::object());
  options.strategy = "scale";
  at::Tensor expected;
  {
    const auto adapter = Adapter::attach(*model, registry(), options);
    randomize(*adapter);
    expected = logits(*model);
    adapter->save(scratch / "adapter");
  }
  const auto loaded = Adapter::load(*model, registry(), scratch / "adapter");
  EXPECT_EQ(loaded->strategy(), "scale");
  EXPECT_TRUE(at::equal(logits(*model), expected));
  options = lora();
  options.adapter = scratch / "adapter";
  const auto message = error_of([&] { static_cast<void>(Adapter::attach(*model, registry(), options)); });
  EXPECT_NE(message.find("\"scale\""), std::string::npos) << message;
}

TEST(Adapter, TheReferencePolicyIsLentAndReturnedToTheLastBit) {
  const auto model = open_model();
  for (const auto& options : {lora(), full()}) {
    const auto adapter = Adapter::attach(*model, registry(), options);
    EXPECT_THROW(adapter->with_reference([] {}), std::logic_error);
    const auto initial = logits(*model);
    adapter->keep_reference();
    randomize(*adapter);
    const auto current = logits(*model);
    EXPECT_FALSE(at::equal(current, initial));
    adapter->with_reference([&] { EXPECT_TRUE(at::equal(logits(*model), initial)); });
    EXPECT_TRUE(at::equal(logits(*model), current));
    EXPECT_THROW(adapter->with_reference([] { throw std::runtime_error("stop"); }), std::runtime_error);
    EXPECT_TRUE(at::equal(logits(*model), current));
    for (const auto& tensor : adapter->tensors()) EXPECT_TRUE(tensor.tensor.requires_grad());
  }
}

TEST(Adapter, AdaptersCanBeSwitchedOffForAPass) {
  const auto model = open_model();
  const auto before = logits(*model);
  const auto adapter = Adapter::attach(*model, registry(), lora());
  randomize(*adapter);
  model::PassOptions off;
  off.adapters_enabled = false;
  EXPECT_TRUE(at::equal(logits(*model, off), before));
  EXPECT_FALSE(at::equal(logits(*model), before));
}

TEST(Adapter, FullFineTuningTrainsTheParametersOfTheComponents) {
  const auto model = open_model();
  const auto adapter = Adapter::attach(*model, registry(), full());
  EXPECT_FALSE(adapter->base_is_reference());
  for (const auto& param : model->params()) {
    if (param.tied_to >= 0) continue;
    EXPECT_EQ(param.tensor.requires_grad(), param.component == GRAFT_COMPONENT_LANGUAGE) << param.name;
  }
  for (const auto& tensor : adapter->tensors()) EXPECT_TRUE(tensor.is_base) << tensor.name;
}

TEST(Adapter, FullFineTuningOfNamedModulesTrainsThoseOnly) {
  const auto model = open_model();
  auto options = full();
  options.targets.all_linear = false;
  options.targets.names = {"q_proj", "norm"};
  const auto adapter = Adapter::attach(*model, registry(), options);
  EXPECT_EQ(adapter->tensors().size(), 4u * 2u + 1u);  // weight and bias of each layer, the final norm
}

TEST(Adapter, FullFineTuningIsSavedAsAModelDirectory) {
  const Scratch scratch;
  const auto model = open_model();
  const auto adapter = Adapter::attach(*model, registry(), full());
  {
    const at::NoGradGuard no_grad;
    for (const auto& tensor : adapter->tensors()) tensor.tensor.add_(0.01);
  }
  adapter->save(scratch / "model");
  model::OpenOptions options;
  options.directory = scratch / "model";
  EXPECT_TRUE(at::equal(logits(*model::Model::open(registry(), options)), logits(*model)));
}

TEST(Adapter, FullFineTuningOfABfloat16ModelIsRefused) {
  const auto model = open_model("bfloat16");
  const auto message = error_of([&] { static_cast<void>(Adapter::attach(*model, registry(), full())); });
  EXPECT_NE(message.find("model.dtype=float32"), std::string::npos) << message;
  EXPECT_NO_THROW(Adapter::attach(*model, registry(), lora()));
}

// `scale` multiplies the base layer's bfloat16 result by float32 factors, which gives float32.
TEST(Adapter, UnderAutocastAStrategyMayLeaveFloat32) {
  AttachOptions options = lora(nlohmann::json::object());
  options.strategy = "scale";
  for (const char* dtype : {"float32", "bfloat16"}) {
    const auto model = open_model(dtype, "bfloat16");
    const auto before = logits(*model);
    const auto adapter = Adapter::attach(*model, registry(), options);
    EXPECT_TRUE(at::equal(logits(*model), before)) << dtype;  // all factors are 1
  }
}

// PEFT: test_all_modules_excluded.
TEST(Adapter, ASelectionThatLeavesNothingIsAnError) {
  const auto model = open_model();
  auto options = lora();
  options.targets.exclude_pattern = ".*";
  const auto message = error_of([&] { static_cast<void>(Adapter::attach(*model, registry(), options)); });
  EXPECT_NE(message.find("would train no parameter"), std::string::npos) << message;
}

}  // namespace
}  // namespace graft::adapt
