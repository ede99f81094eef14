// SPDX-License-Identifier: Apache-2.0
// The estimate of a step against what LibTorch allocates for the same passes of the tiny checkpoint.
#include "memory/estimate.h"

#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <memory>

#include "objective/logprobs.h"
#include "tests/memory/allocation_peak.h"
#include "tests/support/tiny_model.h"

namespace graft::memory {
namespace {

constexpr std::int64_t kGenerations = 3, kLength = 24;

struct Case {
  std::string strategy;
  nlohmann::json params;
  std::string policy;
  std::vector<std::int32_t> components;
};

std::unique_ptr<model::Model> open_outline(Ledger& ledger) {
  const Ledger::Scope label(ledger, "weights");
  model::OpenOptions options;
  options.directory = tests::tiny_directory();
  options.without_values = true;
  return model::Model::open(tests::tiny_registry(), options);
}

std::unique_ptr<adapt::Adapter> attach(model::Model& model, const Case& made) {
  adapt::AttachOptions options;
  options.strategy = made.strategy;
  options.params = made.params;
  options.targets.all_linear = true;
  options.targets.components = made.components;
  return adapt::Adapter::attach(model, tests::tiny_registry(), options);
}

std::vector<Decision> decide(const model::Model& model, const Case& made) {
  return plan(tests::tiny_registry(), model, {made.policy, nlohmann::json::object()}, std::nullopt,
              declared_costs(model, {.tokens = 200, .patches = 200}, sizeof(float)));
}

model::Prompt prepare(const model::Model& model) {
  const std::vector<image::Image> images = {image::load_image(tests::tiny_directory() / "golden/image.png")};
  const std::vector<std::string> names = {"image"};
  return model.prepare({{"user", "Where is the red box?", 1}}, images, names);
}

// Peak of the second of two forward and backward passes: gradients are there, as between micro-batches.
std::int64_t measured_update(const Case& made) {
  const auto model = tests::open_tiny_model();
  const auto adapter = attach(*model, made);
  model->set_segment_hook(recompute_hook(decide(*model, made)));
  const model::Prompt prompt = prepare(*model);
  const std::vector<const model::PreparedImage*> images = {prompt.images.data()};
  const std::vector<std::int64_t> completion(kLength, 7);
  std::int64_t peak = 0;
  const tests::AllocationPeak memory;
  for (int round = 0; round < 2; ++round) {
    objective::LogprobOptions options;
    options.with_entropy = true;
    options.ban_image_tokens = true;
    options.pass.is_training = true;
    objective::ScoredGroup group;
    group.prompt = &prompt;
    group.image_values = model->encode_images(images, options.pass);
    group.completions.assign(kGenerations, completion);
    const std::vector<objective::ScoredGroup> groups = {group};
    group = {};
    objective::completion_logprobs(*model, groups, options).logprobs.sum().backward();
    peak = memory.peak();
  }
  return peak;
}

std::int64_t estimated_update(const Case& made) {
  Ledger ledger;
  const auto model = open_outline(ledger);
  const auto adapter = attach(*model, made);
  const model::Prompt prompt = prepare(*model);
  Workload workload;
  workload.prompts = {&prompt, &prompt};
  workload.passes = {{0, 1}, {1, 1}};
  workload.num_generations = kGenerations;
  workload.completion_length = kLength;
  const Estimate made_estimate = estimate(ledger, *model, *adapter, decide(*model, made), workload);
  const PhaseEstimate& update = made_estimate.phases.back();
  EXPECT_EQ(update.name, "update");
  std::int64_t sum = 0, before = 0;
  for (const auto& [name, bytes] : update.parts) {
    sum += bytes;
    if (name == "weights" || name == "adapters" || name == "optimizer state" || name == "images" ||
        name == "image features") {
      before += bytes;
    }
  }
  EXPECT_EQ(sum, update.peak);
  EXPECT_GT(made_estimate.gradients, 0);
  return update.peak - before;
}

TEST(Estimate, UpdateEqualsWhatIsAllocated) {
  const std::vector<std::int32_t> language = {GRAFT_COMPONENT_LANGUAGE};
  const std::vector<std::int32_t> both = {GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_VISION};
  const nlohmann::json rank = {{"r", 4}}, dora = {{"r", 4}, {"use_dora", true}},
                       dropout = {{"r", 4}, {"dropout", 0.1}};
  for (const Case& made : std::vector<Case>{{"lora", rank, "none", language},
                                            {"lora", rank, "full", language},
                                            {"lora", dropout, "none", language},
                                            {"lora", rank, "none", both},
                                            {"lora", rank, "full", both},
                                            {"lora", dora, "none", language},
                                            {"full", nlohmann::json::object(), "none", language},
                                            {"full", nlohmann::json::object(), "full", both}}) {
    const auto measured = static_cast<double>(measured_update(made));
    const auto estimated = static_cast<double>(estimated_update(made));
    EXPECT_NEAR(estimated / measured, 1.0, 0.06) << made.strategy << ' ' << made.params << ' ' << made.policy
                                                 << ": estimated " << estimated << ", measured " << measured;
  }
}

TEST(Estimate, KeepsAccountOfAWholeStep) {
  Ledger ledger;
  const auto model = open_outline(ledger);
  const Case made{"lora", {{"r", 4}}, "none", {GRAFT_COMPONENT_LANGUAGE}};
  const auto adapter = attach(*model, made);
  const model::Prompt prompt = prepare(*model);
  Workload workload;
  workload.prompts = {&prompt};
  workload.passes = {{0, 1}};
  workload.num_generations = kGenerations;
  workload.completion_length = kLength;
  workload.with_reference = workload.base_is_reference = true;
  const std::int64_t before = ledger.current();
  const Estimate made_estimate = estimate(ledger, *model, *adapter, decide(*model, made), workload);
  EXPECT_EQ(ledger.current(), before) << "all of it is gone afterwards";

  ASSERT_EQ(made_estimate.phases.size(), 3U);
  std::int64_t weights = 0;
  for (const model::Param& param : model->params())
    weights += static_cast<std::int64_t>(param.tensor.nbytes());
  EXPECT_NEAR(static_cast<double>(made_estimate.weights), static_cast<double>(weights), 64.0 * 200);
  EXPECT_EQ(made_estimate.gradients, adapter->trained_parameters() * 4);
  EXPECT_NEAR(static_cast<double>(made_estimate.optimizer),
              2.0 * static_cast<double>(made_estimate.gradients),
              64.0 * 3 * static_cast<double>(adapter->tensors().size()));
  // Keys and values of 4 layers with 2 heads of 32: the prompt once, the completions but for their last tokens.
  const auto tokens = static_cast<std::int64_t>(prompt.ids.size()) + kGenerations * (kLength - 1);
  EXPECT_NEAR(static_cast<double>(made_estimate.kv_cache), static_cast<double>(4 * 2 * 2 * 32 * 4 * tokens),
              4096.0);
  EXPECT_TRUE(made_estimate.activations.contains("language.layers.3"));
  EXPECT_GT(made_estimate.activations.at("language.layers.0"), 0);
}

TEST(Estimate, RecomputationKeepsLess) {
  const auto kept = [](const std::string& policy) {
    Ledger ledger;
    const auto model = open_outline(ledger);
    const Case made{"lora", {{"r", 4}}, policy, {GRAFT_COMPONENT_LANGUAGE}};
    const auto adapter = attach(*model, made);
    const model::Prompt prompt = prepare(*model);
    Workload workload;
    workload.prompts = {&prompt};
    workload.passes = {{0, 1}};
    workload.num_generations = kGenerations;
    workload.completion_length = kLength;
    return estimate(ledger, *model, *adapter, decide(*model, made), workload).activation_bytes();
  };
  EXPECT_LT(kept("full"), kept("none") / 3);
}

}  // namespace
}  // namespace graft::memory
