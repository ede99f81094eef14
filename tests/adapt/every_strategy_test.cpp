// SPDX-License-Identifier: Apache-2.0
// What holds of every PEFT strategy on the search path, whatever it computes: a new one is tested by being there. Tests are named after
// their counterparts in PEFT's tests/testing_common.py and tests/test_custom_models.py.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <graft/checkpoint_policy.h>
#include <graft/peft.h>
#include <graft/plugin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "memory/recompute.h"
#include "objective/logprobs.h"
#include "support/random.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_model.h"

namespace graft::adapt {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

std::unique_ptr<model::Model> open_model(bool as_int8 = false) {
  model::OpenOptions options;
  options.directory = tests::tiny_directory();
  options.as_int8 = as_int8;
  return model::Model::open(tests::tiny_registry(), options);
}

// One question about an image with an answer.
class Lesson {
 public:
  explicit Lesson(const model::Model& model)
      : model_(model),
        prompt_(tests::tiny_prompt(model, "Where is the red square?", "image").prompt),
        answer_(model.tokenizer().encode("at the left")) {}

  [[nodiscard]] at::Tensor logprobs(bool adapters_enabled = true) const {
    objective::LogprobOptions options;
    options.pass.adapters_enabled = adapters_enabled;
    const std::vector<const model::PreparedImage*> images = {&prompt_.images.front()};
    objective::ScoredGroup group{&prompt_, model_.encode_images(images, options.pass), {}};
    group.completions.emplace_back(answer_);
    const std::vector<objective::ScoredGroup> groups = {group};
    return objective::completion_logprobs(model_, groups, options).logprobs;
  }

 private:
  const model::Model& model_;
  model::Prompt prompt_;
  std::vector<std::int64_t> answer_;
};

class EveryStrategy : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Adapter> attach(model::Model& model) {
    AttachOptions options;
    options.strategy = GetParam();
    options.targets.names = {"q_proj", "v_proj", "down_proj", "qkv"};
    options.targets.components = {GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_VISION};
    options.seed = 3;
    return Adapter::attach(model, tests::tiny_registry(), options);
  }

  // As after training: every trained value moved a little.
  static void move(const Adapter& adapter) {
    const at::NoGradGuard no_grad;
    for (const auto& item : adapter.tensors()) {
      if (!item.is_trained) continue;
      support::KeyedRandom random(4, {support::hash_string(item.name)});
      auto* values = item.tensor.data_ptr<float>();
      for (std::int64_t i = 0; i < item.tensor.numel(); ++i)
        values[i] += static_cast<float>(0.02 * random.normal());
    }
  }

  static Tensors gradients(const Adapter& adapter, const Lesson& lesson) {
    for (const auto& item : adapter.tensors()) item.tensor.mutable_grad().reset();
    lesson.logprobs().sum().backward();
    Tensors out;
    for (const auto& item : adapter.tensors()) {
      if (item.is_trained) out[item.name] = item.tensor.grad();
    }
    return out;
  }
};

TEST_P(EveryStrategy, test_disable_adapter) {
  const auto model = open_model();
  const Lesson lesson(*model);
  const at::NoGradGuard no_grad;
  const at::Tensor base = lesson.logprobs();
  const auto adapter = attach(*model);
  EXPECT_TRUE(at::allclose(lesson.logprobs(), base, 1e-5, 1e-5));  // fresh
  move(*adapter);
  const at::Tensor adapted = lesson.logprobs();
  EXPECT_FALSE(at::allclose(adapted, base, 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(lesson.logprobs(false), base));
  EXPECT_TRUE(at::equal(lesson.logprobs(), adapted));
}

TEST_P(EveryStrategy, test_training_gradient_checkpointing) {
  const auto model = open_model();
  const Lesson lesson(*model);
  const auto adapter = attach(*model);
  move(*adapter);
  const Tensors expected = gradients(*adapter, lesson);
  model->set_segment_hook(memory::recompute_hook(
      std::vector<memory::Decision>(model->segments().size(), memory::Decision::kRecompute)));
  const Tensors found = gradients(*adapter, lesson);
  for (const auto& [name, grad] : expected) {
    ASSERT_TRUE(grad.defined()) << name;
    EXPECT_TRUE(at::equal(found.at(name), grad)) << name;
  }
  for (const auto& param : model->params()) EXPECT_FALSE(param.tensor.grad().defined()) << param.name;
}

TEST_P(EveryStrategy, test_only_params_are_updated) {
  const auto model = open_model();
  const Lesson lesson(*model);
  const auto adapter = attach(*model);
  Tensors before;
  for (const auto& param : model->params()) before["base " + param.name] = param.tensor.clone();
  for (const auto& item : adapter->tensors()) before[item.name] = item.tensor.detach().clone();
  std::vector<AdapterTensor> trained;
  for (const auto& item : adapter->tensors()) {
    if (item.is_trained) trained.push_back(item);
  }
  AdamW optimizer(trained, {.learning_rate = 1e-2});
  for (std::int64_t step = 0; step < 20; ++step) {
    at::Tensor loss = lesson.logprobs().mean().neg();
    const at::Tensor more = adapter->regularization(step, 20);
    if (more.defined()) loss = loss + more;
    loss.backward();
    adapter->before_update(step, 20);
    optimizer.step(1e-2);
    adapter->after_update(step, 20);
    optimizer.zero_grad();
  }
  for (const auto& item : adapter->tensors()) {
    const bool may_move = item.is_trained || !item.is_saved;  // what is not saved is the strategy's memory
    if (may_move) continue;
    EXPECT_TRUE(at::equal(item.tensor, before[item.name])) << item.name;
  }
  for (const auto& item : trained)
    EXPECT_FALSE(at::equal(item.tensor.detach(), before[item.name])) << item.name;
  for (const auto& param : model->params())
    EXPECT_TRUE(at::equal(param.tensor, before["base " + param.name])) << param.name;
}

// PEFT: _test_save_pretrained too.
TEST_P(EveryStrategy, test_save_load_roundtrip) {
  const test::TemporaryDirectory directory;
  at::Tensor expected;
  {
    const auto model = open_model();
    const auto adapter = attach(*model);
    move(*adapter);
    const at::NoGradGuard no_grad;
    expected = Lesson(*model).logprobs();
    adapter->save(directory / "adapter");
  }
  const auto model = open_model();
  const auto adapter = Adapter::load(*model, tests::tiny_registry(), directory / "adapter", /*seed=*/99);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::allclose(Lesson(*model).logprobs(), expected, 1e-5, 1e-5));
}

// PEFT: _test_safe_merge too, since merging here is always safe.
TEST_P(EveryStrategy, test_merge_layers) {
  const test::TemporaryDirectory directory;
  const auto model = open_model();
  const auto adapter = attach(*model);
  move(*adapter);
  const at::NoGradGuard no_grad;
  adapter->save_merged(directory / "merged");
  model::OpenOptions options;
  options.directory = directory / "merged";
  const auto merged = model::Model::open(tests::tiny_registry(), options);
  EXPECT_TRUE(at::allclose(Lesson(*merged).logprobs(), Lesson(*model).logprobs(), 1e-4, 1e-5));
}

Tensors values_of(const model::Model& model) {
  Tensors values;
  for (const auto& param : model.params()) values[param.name] = param.tensor.detach().clone();
  return values;
}

TEST_P(EveryStrategy, test_merge_layers_is_idempotent) {
  const test::TemporaryDirectory directory;
  const auto model = open_model();
  const auto adapter = attach(*model);
  move(*adapter);
  const at::NoGradGuard no_grad;
  std::vector<Tensors> results;
  for (const char* name : {"merged", "again"}) {
    adapter->save_merged(directory / name);
    model::OpenOptions options;
    options.directory = directory / name;
    results.push_back(values_of(*model::Model::open(tests::tiny_registry(), options)));
  }
  for (const auto& [name, value] : results[0]) EXPECT_TRUE(at::equal(results[1].at(name), value)) << name;
}

// Merging writes another model; with its adapter off, this one stays the base.
TEST_P(EveryStrategy, test_disable_adapters_with_merging) {
  const test::TemporaryDirectory directory;
  const auto model = open_model();
  const Lesson lesson(*model);
  const at::NoGradGuard no_grad;
  const at::Tensor base = lesson.logprobs();
  const auto adapter = attach(*model);
  move(*adapter);
  const at::Tensor adapted = lesson.logprobs();
  adapter->save_merged(directory / "merged");
  EXPECT_TRUE(at::equal(lesson.logprobs(false), base));
  EXPECT_TRUE(at::equal(lesson.logprobs(), adapted));
}

TEST_P(EveryStrategy, test_parameters_after_loading_model) {
  const test::TemporaryDirectory directory;
  const auto model = open_model();
  Tensors saved;
  {
    const auto adapter = attach(*model);
    move(*adapter);
    adapter->save(directory / "adapter");
    for (const auto& item : adapter->tensors()) {
      if (item.is_saved) saved[item.name] = item.tensor.detach().clone();
    }
  }
  const auto adapter = Adapter::load(*model, tests::tiny_registry(), directory / "adapter", /*seed=*/99);
  for (const auto& item : adapter->tensors()) {
    if (item.is_saved) {
      EXPECT_TRUE(at::equal(item.tensor.detach(), saved.at(item.name))) << item.name;
    }
  }
}

TEST_P(EveryStrategy, test_loading_model_requires_grad_set_correctly) {
  const test::TemporaryDirectory directory;
  const auto model = open_model();
  attach(*model)->save(directory / "adapter");
  const auto adapter = Adapter::load(*model, tests::tiny_registry(), directory / "adapter");
  for (const auto& item : adapter->tensors())
    EXPECT_EQ(item.tensor.requires_grad(), item.is_trained) << item.name;
  for (const auto& param : model->params()) EXPECT_FALSE(param.tensor.requires_grad()) << param.name;
}

// The same on a base in eight bits as on a float32 model of the rounded weights.
TEST_P(EveryStrategy, ComputesOnAnInt8Base) {
  const auto rounded = open_model(true), dense = open_model();
  for (std::size_t i = 0; i < dense->params().size(); ++i) {
    dense->params()[i].tensor.copy_(rounded->params()[i].dense(at::kFloat));
  }
  const auto one = attach(*rounded), other = attach(*dense);
  move(*one);
  move(*other);
  const Lesson first(*rounded), second(*dense);
  EXPECT_TRUE(at::allclose(first.logprobs(), second.logprobs(), 1e-5, 1e-5));
  const Tensors found = gradients(*one, first);
  for (const auto& [name, grad] : gradients(*other, second)) {
    const double scale = std::max(grad.abs().max().item<double>(), 1e-6);
    EXPECT_LT((found.at(name) - grad).abs().max().item<double>(), 2e-5 * scale) << name;
  }
}

std::vector<std::string> strategies() {
  std::vector<std::string> names;
  for (const auto& component : tests::tiny_registry().list(GRAFT_KIND_PEFT)) {
    const auto& table = component.interface<graft_peft>(GRAFT_INTERFACE_PEFT);
    if (table.plan_site != nullptr) names.push_back(component.name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Adapt, EveryStrategy, testing::ValuesIn(strategies()),
                         [](const auto& of) { return of.param; });

}  // namespace
}  // namespace graft::adapt
