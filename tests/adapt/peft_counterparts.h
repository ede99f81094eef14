// SPDX-License-Identifier: Apache-2.0
// What the counterparts of PEFT's tests share: adapters on the tiny checkpoint.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "adapt/adapter.h"
#include "model/attention.h"
#include "model/packed_input.h"
#include "support/files.h"
#include "support/random.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt::counterparts {

namespace fs = std::filesystem;
using nlohmann::json;

inline AttachOptions options_of(const std::string& strategy, json params,
                                std::vector<std::string> names = {"q_proj", "v_proj", "down_proj"}) {
  AttachOptions options;
  options.strategy = strategy;
  options.params = std::move(params);
  options.targets.names = std::move(names);
  options.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  options.seed = 11;
  return options;
}

inline AttachOptions lora(json params, std::vector<std::string> names = {"q_proj", "v_proj", "down_proj"}) {
  return options_of("lora", std::move(params), std::move(names));
}

// As after training.
inline void move(const Adapter& adapter) {
  const at::NoGradGuard no_grad;
  for (const auto& item : adapter.tensors()) {
    if (!item.is_trained) continue;
    support::KeyedRandom random(9, {support::hash_string(item.name)});
    auto* values = item.tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < item.tensor.numel(); ++i)
      values[i] += static_cast<float>(0.03 * random.normal());
  }
}

using Values = std::map<std::string, at::Tensor>;

inline Values copy_of(const std::vector<model::Param>& params) {
  Values values;
  for (const auto& param : params) values[param.name] = param.tensor.detach().clone();
  return values;
}

class PeftCounterparts : public testing::Test {
 protected:
  std::unique_ptr<Adapter> attach(const AttachOptions& options) {
    return Adapter::attach(*model_, tests::tiny_registry(), options);
  }
  std::unique_ptr<Adapter> load(const fs::path& directory, const std::vector<fs::path>& below = {}) {
    AttachOptions options;
    options.adapter = directory;
    options.base_adapters = below;
    return attach(options);
  }
  // Saves a moved adapter and returns where.
  fs::path save(const std::string& name, const AttachOptions& options) {
    const auto adapter = attach(options);
    move(*adapter);
    adapter->save(scratch_ / name);
    return scratch_ / name;
  }
  [[nodiscard]] static at::Tensor logits_of(const model::Model& model, bool with_adapters = true) {
    const at::NoGradGuard no_grad;
    model::PassOptions pass;
    pass.adapters_enabled = with_adapters;
    const auto made = tests::tiny_prompt(model, "Where is it?", "");
    model::PackedSequences sequences;
    sequences.prompt = &made.prompt;
    const std::vector<model::PackedSequences> groups = {sequences};
    const auto hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                     model::packed_attention(model::packed_groups(groups)), pass);
    return model.head(hidden, pass);
  }
  [[nodiscard]] at::Tensor logits(bool with_adapters = true) const {
    return logits_of(*model_, with_adapters);
  }
  [[nodiscard]] static std::unique_ptr<model::Model> open(const fs::path& directory) {
    model::OpenOptions options;
    options.directory = directory;
    return model::Model::open(tests::tiny_registry(), options);
  }
  void expect_base_unchanged(const Values& before) const {
    for (const auto& param : model_->params())
      EXPECT_TRUE(at::equal(param.tensor, before.at(param.name))) << param.name;
  }

  test::TemporaryDirectory scratch_;
  std::unique_ptr<model::Model> model_ = tests::open_tiny_model();
};

inline bool is_close(const at::Tensor& a, const at::Tensor& b) {
  return at::allclose(a, b, 1e-5, 1e-5);
}

inline json config_in(const fs::path& directory) {
  return json::parse(support::read_file(directory / "adapter_config.json"));
}

}  // namespace graft::adapt::counterparts
