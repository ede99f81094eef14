// SPDX-License-Identifier: Apache-2.0
#include "adapt/peft_tensors.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <filesystem>
#include <fstream>

#include "adapt/plan.h"
#include "model/safetensors.h"
#include "support/error.h"
#include "tests/adapt/qwen_sites.h"

namespace graft::adapt {
namespace {

// An adapter of two layers in a directory of its own.
class PeftTensors : public ::testing::Test {
 protected:
  PeftTensors() {
    std::filesystem::create_directories(directory);
    for (const std::size_t site : {0u, 14u}) {  // a q_proj of the decoder, qkv of the vision encoder
      for (const char* param : {".lora_A.weight", ".lora_B.weight"}) {
        AdapterTensor tensor;
        tensor.name = model.sites[site].name + param;
        tensor.tensor = at::zeros({2, 3});
        tensor.site = static_cast<std::int64_t>(site);
        tensors.push_back(tensor);
      }
    }
  }
  ~PeftTensors() override { std::filesystem::remove_all(directory); }

  void read() const {
    read_adapter_tensors(directory, tensors, model.sites, site_names(model.sites, model.params));
  }
  [[nodiscard]] std::string error() const {
    try {
      read();
    } catch (const support::UserError& e) {
      return e.what();
    }
    return "no error";
  }
  void write(const model::NamedTensors& named) const {
    model::write_safetensors(directory / "adapter_model.safetensors", named);
  }

  std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("graft_peft_tensors_" + std::to_string(::getpid()));
  test::QwenSites model;
  std::vector<AdapterTensor> tensors;
};

// PEFT: test_get_peft_model_state_dict_removes_adapter_name, test_get_and_set_peft_model_state_dict_normal_names.
TEST_F(PeftTensors, AreReadBackAsWritten) {
  std::vector<at::Tensor> values;
  for (const auto& tensor : tensors) {
    tensor.tensor.copy_(at::randn({2, 3}));
    values.push_back(tensor.tensor.clone());
  }
  write_adapter_tensors(directory, tensors, model.sites, site_names(model.sites, model.params));
  for (const auto& tensor : tensors) tensor.tensor.zero_();
  read();
  for (std::size_t i = 0; i < tensors.size(); ++i) EXPECT_TRUE(at::equal(tensors[i].tensor, values[i]));
  const model::SafetensorsFile file(directory / "adapter_model.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_NE(file.find("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"),
            nullptr);
}

TEST_F(PeftTensors, OlderModulePathsAndOtherDtypesAreRead) {
  const auto value = at::randn({2, 3}).to(at::kBFloat16);
  write({{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", value},
         {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", value},
         {"base_model.model.visual.blocks.0.attn.qkv.lora_A.weight", value},
         {"base_model.model.model.visual.blocks.0.attn.qkv.lora_B.weight", value}});
  EXPECT_EQ(error(), "no error");
  for (const auto& tensor : tensors) {
    EXPECT_EQ(tensor.tensor.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(tensor.tensor, value.to(at::kFloat)));
  }
}

// PEFT: test_inject_from_state_dict_missing_keys_warning, test_inject_from_state_dict_extra_keys_warning.
TEST_F(PeftTensors, AllFaultsAreReportedTogetherAndNothingIsChanged) {
  write({{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", at::randn({2, 3})},
         {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", at::randn({4, 3})},
         {"base_model.model.visual.blocks.0.attn.qkv.lora_A.weight", at::randn({2, 3})},
         {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight", at::randn({2, 3})}});
  const auto message = error();
  EXPECT_NE(message.find("missing: base_model.model.model.visual.blocks.0.attn.qkv.lora_B.weight"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("is [4, 3], expected [2, 3]"), std::string::npos) << message;
  EXPECT_NE(message.find("unexpected: base_model.model.model.layers.9."), std::string::npos) << message;
  for (const auto& tensor : tensors) EXPECT_EQ(tensor.tensor.abs().max().item<float>(), 0.0f);
}

TEST_F(PeftTensors, ADirectoryWithoutThemSaysSo) {
  EXPECT_NE(error().find("adapter_model.safetensors"), std::string::npos) << error();
  std::ofstream(directory / "adapter_model.bin") << "pickle";
  EXPECT_NE(error().find("pickle"), std::string::npos) << error();
}

}  // namespace
}  // namespace graft::adapt
