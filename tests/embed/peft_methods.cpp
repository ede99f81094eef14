// SPDX-License-Identifier: Apache-2.0
// graft's half of peft_methods.py:
//
//   peft_methods fresh MODEL IMAGE DIRECTORY OPTIONS   attaches a fresh adapter and trains it for a few steps
//   peft_methods load MODEL IMAGE DIRECTORY OPTIONS    loads OPTIONS["adapter"] and trains it, for one step unless told
//
// OPTIONS is JSON: "strategy", "params", "targets", "exclude", "components", "modules_to_save", "rank_pattern",
// "alpha_pattern", "adapter", "steps", "learning_rate", "eps", "calibration" (batches of [question, answer]; with "prompts_only" no answers
// are looked at): out.safetensors then has their token ids, "ids.BATCH.SAMPLE" and "prompt_length.BATCH.SAMPLE". DIRECTORY gets adapter/ and merged/ (before the step of `load`), stepped/
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
#include "adapt/calibration.h"
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
  Lesson(const model::Model& model, const fs::path& image_file,
         const std::string& question = "Where is the red circle?",
         const std::string& answer = "It is at the left, near the top.") {
    const std::vector<image::Image> images = {image::load_image(image_file)};
    const std::vector<std::string> names = {image_file.string()};
    prompt_ = model.prepare({{"user", question, 1}}, images, names);
    answer_ = model.tokenizer().encode(answer);
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
    const std::vector<model::PackedSequences> groups = {sequences(model, pass)};
    const auto hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                     model::packed_attention(model::packed_groups(groups)), pass);
    return model.head(hidden, pass);
  }

  [[nodiscard]] model::PackedSequences sequences(const model::Model& model, const model::PassOptions& pass,
                                                 bool with_answer = true) const {
    model::PackedSequences sequences;
    sequences.prompt = &prompt_;
    const std::vector<const model::PreparedImage*> pointers = {&prompt_.images.front()};
    sequences.image_values = model.encode_images(pointers, pass);
    if (with_answer) sequences.completions = {answer_};
    return sequences;
  }
  [[nodiscard]] std::size_t prompt_length() const { return prompt_.ids.size(); }
  [[nodiscard]] std::size_t answer_length() const { return answer_.size(); }

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

// Questions about the image with their answers, in batches, for strategies that look at data first.
class Batches {
 public:
  Batches(const model::Model& model, const fs::path& image_file, const json& given, bool with_answers)
      : model_(model), with_answers_(with_answers) {
    for (const json& batch : given) {
      auto& samples = batches_.emplace_back();
      for (const json& pair : batch) samples.emplace_back(model, image_file, pair.at(0), pair.at(1));
    }
  }

  [[nodiscard]] adapt::CalibrationData data() const {
    if (batches_.empty()) return {};
    return {
        [this](std::int64_t pass) { return this->pass(static_cast<std::size_t>(pass) % batches_.size()); },
        100};
  }

  void add_inputs(model::NamedTensors& out) const {
    for (std::size_t b = 0; b < batches_.size(); ++b) {
      for (std::size_t s = 0; s < batches_[b].size(); ++s) {
        const auto inputs = batches_[b][s].inputs();
        const auto place = "." + std::to_string(b) + "." + std::to_string(s);
        out.emplace_back("ids" + place, inputs[0].second);
        out.emplace_back("prompt_length" + place, inputs[3].second);
      }
    }
  }

 private:
  [[nodiscard]] adapt::CalibrationPass pass(std::size_t b) const {
    std::vector<std::int64_t> rows;
    std::int64_t end = 0;
    for (const Lesson& sample : batches_[b]) {
      end += static_cast<std::int64_t>(sample.prompt_length());
      for (std::size_t i = 0; with_answers_ && i < sample.answer_length(); ++i) rows.push_back(end++);
    }
    return {[this, b](bool with_head) { run(batches_[b], with_head); },
            with_answers_ ? at::tensor(rows) : at::Tensor()};
  }

  void run(const std::vector<Lesson>& samples, bool with_head) const {
    std::vector<model::PackedSequences> groups;
    for (const Lesson& sample : samples) groups.push_back(sample.sequences(model_, {}, with_answers_));
    const auto hidden = model_.decode(model::pack_input(groups, model_.position_rank()),
                                      model::packed_attention(model::packed_groups(groups)), {});
    if (with_head) static_cast<void>(model_.head(hidden, {}));
  }

  const model::Model& model_;
  bool with_answers_;
  std::vector<std::vector<Lesson>> batches_;
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
  const Batches batches(*model, arguments.at(2), options.value("calibration", json::array()),
                        !options.value("prompts_only", false));
  batches.add_inputs(out);
  const adapt::CalibrationData calibration = batches.data();
  adapt::AttachOptions attach = attach_options(options);
  attach.calibration = &calibration;
  const auto adapter = adapt::Adapter::attach(*model, registry, attach);
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
