// SPDX-License-Identifier: Apache-2.0
// The tiny Qwen2.5-VL fixture and its golden values (tests/oracle/make_fixture.py).
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
#include "objective/logprobs.h"
#include "tests/support/tiny_model.h"

namespace graft::parity {

using tests::open_tiny_model;
using tests::tiny_directory;
using tests::tiny_registry;

// A golden tensor by name, and the notes.
[[nodiscard]] at::Tensor golden(std::string_view name);
[[nodiscard]] const nlohmann::json& notes();

// One of the fixture's images: "image" or "image_resize".
[[nodiscard]] image::Image load(std::string_view name);

// A message of the notes in the host's form.
[[nodiscard]] std::vector<model::Message> messages_of(const nlohmann::json& messages);

// A user's question about one image, prepared.
[[nodiscard]] model::Prompt prepare_question(const model::Model& model, const std::string& question,
                                             std::string_view image_name);

// Vision features of all images of a prompt.
[[nodiscard]] at::Tensor image_values(const model::Model& model, const model::Prompt& prompt);

// Logits [T, V] of a prompt followed by a completion (which may be empty).
[[nodiscard]] at::Tensor logits_of(const model::Model& model, const model::Prompt& prompt,
                                   const std::vector<std::int64_t>& completion);

// The question of the first golden prompt, about "image".
[[nodiscard]] std::string question();

// The golden prompt with its one completion.
struct Single {
  explicit Single(const model::Model& model);
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
  model::Prompt prompt;
  std::vector<std::int64_t> completion;
  std::vector<objective::ScoredGroup> groups;  // over the two above
};

// The golden batch: two prompts with two completions each.
struct Batch {
  explicit Batch(const model::Model& model);
  std::vector<model::Prompt> prompts;
  std::vector<std::vector<std::int64_t>> completions;
  std::vector<objective::ScoredGroup> groups;  // over the two above
};

[[nodiscard]] std::vector<std::int64_t> ids_of(const at::Tensor& ids);

// Succeeds if shapes are equal and no element differs by more than `tolerance`; relative: times the largest
// golden magnitude.
[[nodiscard]] testing::AssertionResult is_close(const at::Tensor& ours, const at::Tensor& golden,
                                                double tolerance);
[[nodiscard]] testing::AssertionResult is_close_relative(const at::Tensor& ours, const at::Tensor& golden,
                                                         double tolerance);

}  // namespace graft::parity
