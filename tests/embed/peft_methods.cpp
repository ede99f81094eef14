// SPDX-License-Identifier: Apache-2.0
// graft's half of peft_methods.py:
//
//   peft_methods fresh MODEL IMAGE DIRECTORY OPTIONS   attaches a fresh adapter and trains it for a few steps
//   peft_methods load MODEL IMAGE DIRECTORY OPTIONS    loads OPTIONS["adapter"] and trains it, for one step unless told
//
// OPTIONS is JSON: "strategy", "params", "targets", "exclude", "components", "modules_to_save", "rank_pattern",
// "alpha_pattern", "adapter", "steps", "learning_rate", "eps". DIRECTORY gets adapter/ and merged/ (before the step of `load`), stepped/
// (after it) and out.safetensors: the inputs, and logits of the base model, of the adapter as attached, as trained, switched off, and
// merged. What moved though it is frozen is listed on standard output, one name a line.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "adapt/optimizer.h"
#include "model/attention.h"
#include "model/packed_input.h"
#include "model/safetensors.h"
#include "model/tensor_services.h"
#include "objective/logprobs.h"
#include "plugin/host_services.h"

namespace graft {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : fs::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

std::unique_ptr<model::Model> open_model(plugin::Registry& registry, const fs::path& directory) {
  model::OpenOptions options;
  options.directory = directory;
  return model::Model::open(registry, options);
}

adapt::AttachOptions attach_options(const json& given) {
  adapt::AttachOptions options;
  options.adapter = given.value("adapter", std::string());
  options.strategy = given.value("strategy", std::string());
  options.params = given.value("params", json::object());
  options.targets.names = given.value("targets", std::vector<std::string>{});
  options.targets.exclude_names = given.value("exclude", std::vector<std::string>{});
  for (const std::string& component : given.value("components", std::vector<std::string>{"language"}))
    options.targets.components.push_back(adapt::component_code(component));
  options.modules_to_save = given.value("modules_to_save", std::vector<std::string>{});
  const auto pattern = [&](const char* key) {
    return adapt::SitePatterns::from_object(nlohmann::ordered_json(given.value(key, json::object())), key);
  };
  options.rank_pattern = pattern("rank_pattern");
  options.alpha_pattern = pattern("alpha_pattern");
  options.seed = 5;
  return options;
}

// A prompt about the image with an answer to learn.
class Lesson {
 public:
  Lesson(const model::Model& model, const fs::path& image_file) {
    const std::vector<image::Image> images = {image::load_image(image_file)};
    const std::vector<std::string> names = {image_file.string()};
    prompt_ = model.prepare({{"user", "Where is the red circle?", 1}}, images, names);
    answer_ = model.tokenizer().encode("It is at the left, near the top.");
  }

  [[nodiscard]] model::NamedTensors inputs() const {
    const auto& prepared = prompt_.images.front();
    const std::vector<std::int64_t> grid(prepared.grid.begin(), prepared.grid.end());
    std::vector<std::int64_t> ids = prompt_.ids;
    ids.insert(ids.end(), answer_.begin(), answer_.end());
    return {{"input_ids", at::tensor(ids)},
            {"pixel_values", prepared.values},
            {"image_grid_thw", at::tensor(grid)},
            {"prompt_length", at::tensor(static_cast<std::int64_t>(prompt_.ids.size()))}};
  }

  // [T, V] over prompt and answer.
  [[nodiscard]] at::Tensor logits(const model::Model& model, const model::PassOptions& pass = {}) const {
    const at::NoGradGuard no_grad;
    model::PackedSequences sequences;
    sequences.prompt = &prompt_;
    const std::vector<const model::PreparedImage*> pointers = {&prompt_.images.front()};
    sequences.image_values = model.encode_images(pointers, pass);
    sequences.completions = {answer_};
    const std::vector<model::PackedSequences> groups = {sequences};
    const auto hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                     model::packed_attention(model::packed_groups(groups)), pass);
    return model.head(hidden, pass);
  }

  // Mean negative log-probability of the answer.
  [[nodiscard]] at::Tensor loss(const model::Model& model) const {
    objective::ScoredGroup group;
    group.prompt = &prompt_;
    const std::vector<const model::PreparedImage*> pointers = {&prompt_.images.front()};
    group.image_values = model.encode_images(pointers, {});
    group.completions = {answer_};
    const std::vector<objective::ScoredGroup> groups = {group};
    return objective::completion_logprobs(model, groups, {}).logprobs.mean().neg();
  }

 private:
  model::Prompt prompt_;
  std::vector<std::int64_t> answer_;
};

void train(const Lesson& lesson, const model::Model& model, const adapt::Adapter& adapter,
           const json& options, std::int64_t steps) {
  std::vector<adapt::AdapterTensor> trained;
  for (const auto& tensor : adapter.tensors()) {
    if (tensor.is_trained) trained.push_back(tensor);
  }
  adapt::OptimizerOptions rates;
  rates.learning_rate = options.at("learning_rate");
  rates.eps = options.at("eps");
  adapt::AdamW optimizer(std::move(trained), rates);
  for (std::int64_t step = 0; step < steps; ++step) {
    at::Tensor loss = lesson.loss(model);
    const at::Tensor more = adapter.regularization(step, steps);
    if (more.defined()) loss = loss.add(more);
    loss.backward();
    adapter.before_update(step, steps);
    optimizer.step(rates.learning_rate);
    adapter.after_update(step, steps);
    optimizer.zero_grad();
  }
}

// Copies of everything that must not move.
model::NamedTensors frozen(const model::Model& model, const adapt::Adapter& adapter) {
  model::NamedTensors copies;
  for (const auto& param : model.params()) copies.emplace_back("base " + param.name, param.tensor.clone());
  for (const auto& tensor : adapter.tensors()) {
    if (!tensor.is_trained && tensor.is_saved) copies.emplace_back(tensor.name, tensor.tensor.clone());
  }
  return copies;
}

int run(const std::vector<std::string>& arguments) {
  const bool is_fresh = arguments.at(0) == "fresh";
  const fs::path directory = arguments.at(3);
  const json options = json::parse(arguments.at(4));
  auto registry = open_registry();
  const auto model = open_model(registry, arguments.at(1));
  const Lesson lesson(*model, arguments.at(2));
  model::NamedTensors out = lesson.inputs();
  out.emplace_back("base", lesson.logits(*model));
  const auto adapter = adapt::Adapter::attach(*model, registry, attach_options(options));
  const auto before = frozen(*model, *adapter);
  if (is_fresh) {
    out.emplace_back("initial", lesson.logits(*model));
    train(lesson, *model, *adapter, options, options.at("steps"));
  }
  out.emplace_back("trained", lesson.logits(*model));
  model::PassOptions off;
  off.adapters_enabled = false;
  out.emplace_back("disabled", lesson.logits(*model, off));
  adapter->save(directory / "adapter");
  if (options.value("merges", true)) {
    adapter->save_merged(directory / "merged");
    out.emplace_back("merged", lesson.logits(*open_model(registry, directory / "merged")));
  }
  if (!is_fresh) {
    train(lesson, *model, *adapter, options, options.value("steps", 1));
    adapter->save(directory / "stepped");
  }
  model::write_safetensors(directory / "out.safetensors", out);
  const auto after = frozen(*model, *adapter);
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (!before[i].second.equal(after[i].second)) std::cout << before[i].first << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    return graft::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << "peft_methods: " << e.what() << '\n';
    return 1;
  }
}
