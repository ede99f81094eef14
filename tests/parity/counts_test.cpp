// SPDX-License-Identifier: Apache-2.0
// The families declare as many parameters as the published models have (tests/embed/parameter_counts.py has the numbers
// from transformers).
#include <gtest/gtest.h>

#include <fstream>

#include "model/directory.h"
#include "model/family.h"
#include "tests/parity/golden.h"
#include "tests/support/temporary_directory.h"
#include "text/tokenizer.h"

namespace graft::parity {
namespace {

namespace fs = std::filesystem;

fs::path published() {
  return fs::path(GRAFT_TEST_DATA) / "parity/data/published";
}

// Without weights: a 7B model is declared, not filled.
std::int64_t declared_parameters(const fs::path& config) {
  const test::TemporaryDirectory directory;
  fs::copy_file(config, directory / "config.json");
  for (const char* name : {"tokenizer.json", "generation_config.json"})
    fs::copy_file(Fixture("qwen2_5_vl").directory() / name, directory / name);
  model::OpenOptions options;
  options.directory = directory.path();
  const model::ModelDirectory read = model::read_directory(options);
  const text::Tokenizer tokenizer = text::Tokenizer::load(directory / "tokenizer.json");
  const auto family = model::Family::open(tiny_registry(), options, read, tokenizer);
  std::int64_t total = 0;
  for (const model::Param& param : family->describe().params) {
    std::int64_t elements = 1;
    for (const std::int64_t size : param.sizes) elements *= size;
    if (param.tied_to < 0) total += elements;
  }
  return total;
}

TEST(FamilyCounts, EqualThoseOfThePublishedModels) {
  nlohmann::json counts;
  std::ifstream(published() / "counts.json") >> counts;
  EXPECT_EQ(counts.at("Qwen2.5-VL-3B-Instruct"), 3'754'622'976);
  EXPECT_EQ(counts.at("Qwen2.5-VL-7B-Instruct"), 8'292'166'656);
  for (const auto& [name, count] : counts.items())
    EXPECT_EQ(declared_parameters(published() / (name + ".json")), count.get<std::int64_t>()) << name;
}

}  // namespace
}  // namespace graft::parity
