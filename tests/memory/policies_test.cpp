// SPDX-License-Identifier: Apache-2.0
// Every checkpoint policy with every kind of training: no tensor loses its gradient, and each gradient is that of the policy "none".
// plugins/checkpoint_policies/README.md has the same table of Python's stack.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <graft/checkpoint_policy.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "adapt/adapter.h"
#include "memory/recompute.h"
#include "memory/segment_costs.h"
#include "objective/logprobs.h"
#include "support/error.h"
#include "support/random.h"
#include "tests/support/tiny_model.h"

namespace graft::memory {
namespace {

using nlohmann::json;
using Gradients = std::map<std::string, at::Tensor>;

constexpr std::array kFamilies = {"qwen2_vl_tiny", "qwen2_5_vl_tiny"};

std::filesystem::path directory_of(const std::string& fixture) {
  return std::filesystem::path(GRAFT_TEST_DATA) / "parity/data" / fixture;
}

bool is_vision(const model::Segment& segment) {
  return segment.component == GRAFT_COMPONENT_VISION;
}

// A kind of training.
struct Training {
  std::string name, strategy;
  bool trains_vision, trains_head;
  double dropout;

  // With a tied head, which cannot be trained as a copy, LoRA adapts it.
  [[nodiscard]] adapt::AttachOptions options(bool has_tied_head) const {
    adapt::AttachOptions out;
    out.strategy = strategy == "dora" ? "lora" : strategy;
    if (strategy != "full") out.params = {{"r", 4}, {"dropout", dropout}, {"use_dora", strategy == "dora"}};
    out.targets.components = {GRAFT_COMPONENT_LANGUAGE};
    if (trains_vision) out.targets.components.push_back(GRAFT_COMPONENT_VISION);
    if (trains_head && has_tied_head) {
      out.targets.names = {"q_proj",  "k_proj",    "v_proj",    "o_proj",
                           "up_proj", "gate_proj", "down_proj", "lm_head"};
      if (trains_vision)
        out.targets.names.insert(out.targets.names.end(), {"qkv", "attn.proj", "fc1", "fc2"});
      out.targets.components.push_back(GRAFT_COMPONENT_HEAD);
    } else if (trains_head) {
      out.modules_to_save = {"lm_head"};
    }
    out.seed = 5;
    return out;
  }
};

std::vector<Training> setups() {
  std::vector<Training> out;
  for (const char* strategy : {"lora", "lora_head", "dora", "full"}) {
    for (const bool trains_vision : {false, true}) {
      for (const double dropout : {0.0, 0.2}) {
        const bool has_head = std::string(strategy) == "lora_head";
        if (dropout > 0.0 && std::string(strategy) == "full") continue;
        out.push_back({std::string(strategy) + (trains_vision ? ", vision trained" : ", vision frozen") +
                           (dropout > 0.0 ? ", dropout" : ""),
                       has_head ? "lora" : strategy, trains_vision, has_head, dropout});
      }
    }
  }
  return out;
}

// The policies, and what they do to a model at least.
struct Policy {
  const char* name;
  json params;
};

std::vector<Policy> policies() {
  return {
      {"full", json::object()},         {"every_nth", {{"n", 2}}},   {"selective", {{"part", "attention"}}},
      {"selective", {{"part", "mlp"}}}, {"offload", json::object()}, {"budget", {{"fraction", 0.5}}}};
}

// Runs segments as `inner` does, and counts.
class Watch final : public model::SegmentHook {
 public:
  Watch(const model::Model& model, std::shared_ptr<model::SegmentHook> inner)
      : segments_(model.segments()), inner_(std::move(inner)) {}

  std::vector<at::Tensor> run(std::uint32_t segment, const model::SegmentBody& body,
                              const std::vector<at::Tensor>& inputs) override {
    const auto counted = [this, body](const std::vector<at::Tensor>& in) {
      if (is_backward) ++recomputed;
      return body(in);
    };
    std::vector<at::Tensor> outputs = inner_->run(segment, counted, inputs);
    if (is_backward || !is_vision(segments_[segment])) return outputs;
    if (at::GradMode::is_enabled()) ++recorded_vision;
    for (const at::Tensor& output : outputs) {
      if (output.requires_grad()) output.register_hook([this](const at::Tensor&) { ++vision_backward; });
    }
    return outputs;
  }

  bool is_backward = false;
  int recomputed = 0;       // runs of segments' bodies in backward
  int recorded_vision = 0;  // runs of vision segments with autograd on
  int vision_backward = 0;  // vision segments that backward went through

 private:
  const std::vector<model::Segment>& segments_;
  std::shared_ptr<model::SegmentHook> inner_;
};

// Two answers to a question about an image, and one to a question without.
class Lesson {
 public:
  explicit Lesson(const model::Model& model)
      : model_(model),
        with_image_(prompt("Where is the red square?", "image")),
        without_(prompt("What is it?", "")),
        answer_(model.tokenizer().encode("at the left, near the top")),
        other_(model.tokenizer().encode("nowhere")) {}

  // Backward of one update with `hook`; what the hook saw is in `watch`.
  Gradients gradients(const adapt::Adapter& adapter, const std::shared_ptr<Watch>& watch) const {
    for (const auto& item : adapter.tensors()) item.tensor.mutable_grad().reset();
    const at::Tensor loss = this->loss();
    watch->is_backward = true;
    loss.backward();
    watch->is_backward = false;
    Gradients out;
    for (const auto& item : adapter.tensors()) {
      if (item.is_trained) out[item.name] = item.tensor.grad();
    }
    return out;
  }

 private:
  [[nodiscard]] model::Prompt prompt(const std::string& question, const std::string& image) const {
    std::vector<image::Image> images;
    std::vector<std::string> names;
    if (!image.empty()) {
      images.push_back(image::load_image(model_.directory() / "golden" / (image + ".png")));
      names.push_back(image);
    }
    return model_.prepare({{"user", question, static_cast<std::int64_t>(images.size())}}, images, names);
  }

  [[nodiscard]] at::Tensor loss() const {
    at::manual_seed(11);
    objective::LogprobOptions options;
    options.pass.is_training = true;
    const std::array images = {&with_image_.images.front()};
    std::vector<objective::ScoredGroup> groups(2);
    groups[0] = {&with_image_, model_.encode_images(images, options.pass), {answer_, other_}};
    groups[1] = {&without_, {}, {other_}};
    return objective::completion_logprobs(model_, groups, options).logprobs.square().mean();
  }

  const model::Model& model_;
  model::Prompt with_image_, without_;
  std::vector<std::int64_t> answer_, other_;
};

// As after some training: B of LoRA is no longer zero, so that A has a gradient.
void move(const adapt::Adapter& adapter) {
  const at::NoGradGuard no_grad;
  for (const auto& item : adapter.tensors()) {
    if (!item.is_trained) continue;
    support::KeyedRandom random(4, {support::hash_string(item.name)});
    auto* values = item.tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < item.tensor.numel(); ++i)
      values[i] += static_cast<float>(0.02 * random.normal());
  }
}

bool has_tied_head(const model::Model& model) {
  const model::Site& head = model.sites()[model.head_site()];
  return model.params()[static_cast<std::size_t>(head.weight)].tied_to >= 0;
}

class Policies : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<model::Model> open() const {
    model::OpenOptions options;
    options.directory = directory_of(GetParam());
    return model::Model::open(tests::tiny_registry(), options);
  }
};

TEST_P(Policies, EveryGradientIsThatOfNone) {
  for (const Training& setup : setups()) {
    const auto model = open();
    const auto adapter =
        adapt::Adapter::attach(*model, tests::tiny_registry(), setup.options(has_tied_head(*model)));
    move(*adapter);
    const Lesson lesson(*model);
    const std::vector<SegmentCost> costs = measured_costs(*model, {200, 64});
    const auto run = [&](const Policy& policy) {
      const std::vector<Decision> decisions =
          plan(tests::tiny_registry(), *model, PolicyChoice{policy.name, policy.params}, std::nullopt, costs);
      const auto watch = std::make_shared<Watch>(*model, recompute_hook(decisions));
      model->set_segment_hook(watch);
      return std::pair(lesson.gradients(*adapter, watch), watch);
    };
    const auto [expected, plain] = run({"none", json::object()});
    EXPECT_EQ(plain->recomputed, 0);
    for (const auto& [name, grad] : expected) {
      ASSERT_TRUE(grad.defined()) << setup.name << ": " << name;
      ASSERT_GT(grad.abs().max().item<float>(), 0.0F) << setup.name << ": " << name;
    }
    EXPECT_EQ(plain->vision_backward > 0, setup.trains_vision) << setup.name;
    for (const Policy& policy : policies()) {
      SCOPED_TRACE(setup.name + ", " + policy.name + " " + policy.params.dump());
      const auto [found, watch] = run(policy);
      if (std::string(policy.name) != "offload") {
        EXPECT_GT(watch->recomputed, 0);
      }
      if (setup.trains_vision) {
        EXPECT_EQ(watch->vision_backward, plain->vision_backward);
      } else {
        EXPECT_EQ(watch->vision_backward, 0);
        EXPECT_EQ(watch->recorded_vision, 0);
      }
      for (const auto& [name, grad] : expected) {
        const at::Tensor& other = found.at(name);
        ASSERT_TRUE(other.defined()) << name;
        const double scale = grad.abs().max().item<double>();
        EXPECT_LE((other - grad).abs().max().item<double>(), 1e-6 * scale) << name;
      }
      for (const auto& param : model->params()) {
        EXPECT_TRUE(setup.strategy == "full" || !param.tensor.grad().defined()) << param.name;
      }
    }
  }
}

TEST_P(Policies, VisionMayHaveAPolicyOfItsOwn) {
  const auto model = open();
  Training setup{"", "lora", true, false, 0.0};
  {
    const auto adapter = adapt::Adapter::attach(*model, tests::tiny_registry(), setup.options(false));
    const std::vector<SegmentCost> costs = measured_costs(*model, {200, 64});
    const auto decisions = plan(tests::tiny_registry(), *model, PolicyChoice{"none", json::object()},
                                PolicyChoice{"full", json::object()}, costs);
    for (std::size_t i = 0; i < decisions.size(); ++i) {
      const model::Segment& segment = model->segments()[i];
      EXPECT_EQ(decisions[i],
                is_vision(segment) && segment.parent < 0 ? Decision::kRecompute : Decision::kKeep)
          << segment.name;
    }
  }
  setup.trains_vision = false;
  const auto adapter = adapt::Adapter::attach(*model, tests::tiny_registry(), setup.options(false));
  EXPECT_THROW(
      static_cast<void>(plan(tests::tiny_registry(), *model, PolicyChoice{"none", json::object()},
                             PolicyChoice{"full", json::object()}, declared_costs(*model, {200, 64}, 4))),
      support::UserError);
}

// Budget and memory model rely on the declarations. Under LoRA of rank 1 on every layer, so that its own activations hardly count.
class Declared : public testing::TestWithParam<const char*> {};

TEST_P(Declared, ActivationsAreWhatIsSaved) {
  model::OpenOptions options;
  options.directory = directory_of(GetParam());
  const auto model = model::Model::open(tests::tiny_registry(), options);
  adapt::AttachOptions attach;
  attach.strategy = "lora";
  attach.params = {{"r", 1}};
  attach.targets.all_linear = true;
  attach.targets.components = {GRAFT_COMPONENT_LANGUAGE};
  if (!model->image_token_ids().empty()) attach.targets.components.push_back(GRAFT_COMPONENT_VISION);
  const auto adapter = adapt::Adapter::attach(*model, tests::tiny_registry(), attach);
  const PassSize size{1000, 1000};
  const auto declared = declared_costs(*model, size, 4), measured = measured_costs(*model, size);
  int compared = 0;
  for (std::size_t i = 0; i < declared.size(); ++i) {
    const model::Segment& segment = model->segments()[i];
    // The first block's input needs no gradient, and what all blocks share counts for it.
    if (segment.name.find("s.0") != std::string::npos) continue;
    ++compared;
    // InternVL's tiles have a token beside their patches, here 16; in published models 1024.
    const bool has_class_token = is_vision(segment) && std::string(GetParam()).rfind("internvl", 0) == 0;
    const double rows = has_class_token ? 17.0 / 16.0 : 1.0;
    const double ratio = static_cast<double>(measured[i].activation_bytes) / rows /
                         static_cast<double>(declared[i].activation_bytes);
    EXPECT_GE(ratio, 1.0) << segment.name << ": " << measured[i].activation_bytes << " bytes saved, "
                          << declared[i].activation_bytes << " declared";
    EXPECT_LE(ratio, 1.05) << segment.name << ": " << measured[i].activation_bytes << " bytes saved, "
                           << declared[i].activation_bytes << " declared";
    EXPECT_EQ(measured[i].input_bytes, declared[i].input_bytes) << segment.name;
  }
  EXPECT_GT(compared, 2);
}

INSTANTIATE_TEST_SUITE_P(Memory, Declared,
                         testing::Values("qwen2_tiny", "qwen3_tiny", "llama_tiny", "qwen2_vl_tiny",
                                         "qwen2_5_vl_tiny", "qwen3_vl_tiny", "glm4v_tiny", "internvl_tiny",
                                         "internvl_6b_tiny"),
                         [](const auto& of) { return std::string(of.param); });
INSTANTIATE_TEST_SUITE_P(Memory, Policies, testing::ValuesIn(kFamilies),
                         [](const auto& of) { return std::string(of.param); });

}  // namespace
}  // namespace graft::memory
