// SPDX-License-Identifier: Apache-2.0
// The fixtures of the families and their golden values (tests/oracle/make_fixture.py).
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "image/image.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "objective/logprobs.h"
#include "tests/support/tiny_model.h"

namespace graft::parity {

using tests::tiny_registry;

// The fixture of one family and its golden values.
class Fixture {
 public:
  explicit Fixture(std::string family);

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  // A golden tensor by name, and the notes.
  [[nodiscard]] at::Tensor golden(std::string_view name) const;
  [[nodiscard]] const nlohmann::json& notes() const { return notes_; }
  [[nodiscard]] bool has_images() const { return notes_.at("images"); }

  // A fresh model, in float32 unless told otherwise. `compute_dtype` "bfloat16": mixed precision.
  [[nodiscard]] std::unique_ptr<model::Model> open(const std::string& dtype = "float32",
                                                   const std::string& compute_dtype = "") const;
  // One of the fixture's images: "image" or "image_resize".
  [[nodiscard]] image::Image load(std::string_view name) const;
  // A user's question about one image, or about none if the family takes none, prepared.
  [[nodiscard]] model::Prompt prepare_question(const model::Model& model, const std::string& question,
                                               std::string_view image_name) const;
  // The question of the first golden prompt, about "image".
  [[nodiscard]] std::string question() const;

 private:
  std::filesystem::path directory_;
  nlohmann::json notes_;
  std::shared_ptr<const model::SafetensorsFile> file_;
};

// The families that have a fixture, a folder data/<family>_tiny, and those among them that take images.
[[nodiscard]] std::vector<std::string> all_families();
[[nodiscard]] std::vector<std::string> image_families();

// Base of the suites: each test runs once for each family.
class Parity : public testing::TestWithParam<std::string>, public Fixture {
 public:
  Parity() : Fixture(GetParam()) {}
};

// Names of the parametrised tests.
[[nodiscard]] inline std::string family_name(const testing::TestParamInfo<std::string>& of) {
  return of.param;
}

// A message of the notes in the host's form.
[[nodiscard]] std::vector<model::Message> messages_of(const nlohmann::json& messages);

// Vision features of all images of a prompt; undefined if it has none.
[[nodiscard]] at::Tensor image_values(const model::Model& model, const model::Prompt& prompt);

// Logits [T, V] of a prompt followed by a completion (which may be empty).
[[nodiscard]] at::Tensor logits_of(const model::Model& model, const model::Prompt& prompt,
                                   const std::vector<std::int64_t>& completion);

// The golden prompt with its one completion.
struct Single {
  Single(const Fixture& fixture, const model::Model& model);
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
  model::Prompt prompt;
  std::vector<std::int64_t> completion;
  std::vector<objective::ScoredGroup> groups;  // over the two above
};

// The golden batch: two prompts with two completions each.
struct Batch {
  Batch(const Fixture& fixture, const model::Model& model);
  std::vector<model::Prompt> prompts;
  std::vector<std::vector<std::int64_t>> completions;
  std::vector<objective::ScoredGroup> groups;  // over the two above
};

[[nodiscard]] std::vector<std::int64_t> ids_of(const at::Tensor& ids);

// Succeeds if shapes are equal and no element differs by more than `tolerance`; relative: times the largest
// golden magnitude.
[[nodiscard]] testing::AssertionResult is_close(const at::Tensor& ours, const at::Tensor& golden,
                                                double tolerance);
// The same for logits [T, V], of which a fixture may keep the last rows only.
[[nodiscard]] testing::AssertionResult are_logits_close(const at::Tensor& ours, const at::Tensor& golden,
                                                        double tolerance);
[[nodiscard]] testing::AssertionResult is_close_relative(const at::Tensor& ours, const at::Tensor& golden,
                                                         double tolerance);

}  // namespace graft::parity
