// SPDX-License-Identifier: Apache-2.0
// Scaled rotary embeddings equal transformers': goldens of tests/oracle/rope_scaling.py, which changes the configuration of
// fixtures and runs their decoders at positions within and far beyond the original context.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <fstream>

#include "model/attention.h"
#include "support/files.h"
#include "tests/parity/golden.h"
#include "tests/support/temporary_directory.h"

namespace graft::parity {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path golden_directory() {
  return fs::path(GRAFT_TEST_DATA) / "parity/data/rope_scaling";
}

const json& cases() {
  static const json all = json::parse(support::read_file(golden_directory() / "cases.json"));
  return all;
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const json& entry : cases()) names.push_back(entry.at("name"));
  return names;
}

class RopeParity : public testing::TestWithParam<std::string> {};

TEST_P(RopeParity, LogitsEqual) {
  const at::NoGradGuard no_grad;
  const json* entry = nullptr;
  for (const json& one : cases()) {
    if (one.at("name") == GetParam()) entry = &one;
  }
  ASSERT_NE(entry, nullptr);
  const Fixture fixture(entry->at("family"));
  const test::TemporaryDirectory directory;
  for (const auto& file : fs::directory_iterator(fixture.directory())) {
    if (file.is_regular_file() && file.path().filename() != "config.json")
      fs::create_symlink(file.path(), directory.path() / file.path().filename());
  }
  json config = json::parse(support::read_file(fixture.directory() / "config.json"));
  (config.contains("text_config") ? config["text_config"] : config).update(entry->at("change"));
  std::ofstream(directory / "config.json") << config;

  model::OpenOptions options;
  options.directory = directory.path();
  const auto model = model::Model::open(tiny_registry(), options);
  model::DecoderInput input;
  input.ids = at::tensor(entry->at("ids").get<std::vector<std::int64_t>>(), at::kLong);
  std::vector<at::Tensor> rows;
  for (const json& row : entry->at("positions")) {
    rows.push_back(at::tensor(row.get<std::vector<std::int64_t>>(), at::kLong));
  }
  input.positions = at::stack(rows);
  ASSERT_EQ(input.positions.size(0), static_cast<std::int64_t>(model->position_rank()));
  const at::Tensor hidden = model->decode(input, model::packed_attention({{input.ids.size(0), {}}}), {});
  const model::SafetensorsFile golden(golden_directory() / "golden.safetensors");
  EXPECT_TRUE(are_logits_close(model->head(hidden, {}), golden.read(GetParam()), 2e-4));
}

INSTANTIATE_TEST_SUITE_P(Cases, RopeParity, testing::ValuesIn(case_names()), family_name);

}  // namespace
}  // namespace graft::parity
