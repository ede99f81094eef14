// SPDX-License-Identifier: Apache-2.0
// graft's half of peft_interchange.py:
//
//   adapter_logits save MODEL ADAPTER OUT IMAGE OPTIONS   attaches a fresh adapter (OPTIONS: {"params", "targets", "pattern",
//                                                         "components", "layers", "layers_pattern", "rank_pattern",
//                                                         "alpha_pattern"}), draws every parameter at random, saves it to ADAPTER
//   adapter_logits load MODEL ADAPTER OUT IMAGE [BASE…]   loads ADAPTER, on top of the adapters BASE
//   adapter_logits values NAMES PATTERNS                  prints the value of each name, 0 for none; both JSON lists
//
// The first two write logits of a prompt about IMAGE to OUT, with the inputs that transformers needs to compute the same, and the names
// of the adapted layers to standard output, one a line.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "model/attention.h"
#include "model/packed_input.h"
#include "model/safetensors.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/random.h"

namespace graft {
namespace {

plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

// Of [["expression", value], …].
adapt::SitePatterns patterns(const nlohmann::json& json) {
  adapt::SitePatterns::Entries entries;
  for (const auto& item : json) entries.emplace_back(item.at(0).get<std::string>(), item.at(1).get<double>());
  return {entries, "pattern"};
}

int print_values(const nlohmann::json& names, const nlohmann::json& entries) {
  const adapt::SitePatterns values = patterns(entries);
  for (const std::string name : names) std::cout << values.value({name}) << '\n';
  return 0;
}

adapt::AttachOptions attach_options(const nlohmann::json& json) {
  adapt::AttachOptions options;
  options.strategy = "lora";
  options.params = json.at("params");
  options.targets.names = json.value("targets", std::vector<std::string>{});
  options.targets.pattern = json.value("pattern", std::string());
  options.targets.layers = json.value("layers", std::vector<std::int64_t>{});
  options.targets.layers_patterns = json.value("layers_pattern", std::vector<std::string>{});
  options.rank_pattern = patterns(json.value("rank_pattern", nlohmann::json::array()));
  options.alpha_pattern = patterns(json.value("alpha_pattern", nlohmann::json::array()));
  for (const std::string component : json.at("components"))
    options.targets.components.push_back(adapt::component_code(component));
  return options;
}

// A fresh adapter changes nothing, so its parameters are drawn anew: N(0, 0.1²).
void randomize(const adapt::Adapter& adapter) {
  const at::NoGradGuard no_grad;
  for (const auto& tensor : adapter.tensors()) {
    support::KeyedRandom random(3, {support::hash_string(tensor.name)});
    auto* values = tensor.tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < tensor.tensor.numel(); ++i)
      values[i] = static_cast<float>(0.1 * random.normal());
  }
}

void write_logits(const model::Model& model, const std::filesystem::path& image_file,
                  const std::filesystem::path& out) {
  const at::NoGradGuard no_grad;
  const std::vector<image::Image> images = {image::load_image(image_file)};
  const std::vector<std::string> names = {image_file.string()};
  const auto prompt = model.prepare({{"user", "Where is the red circle?", 1}}, images, names);
  const auto& prepared = prompt.images.front();
  model::PackedSequences sequences;
  sequences.prompt = &prompt;
  const std::vector<const model::PreparedImage*> pointers = {&prepared};
  sequences.image_values = model.encode_images(pointers, {});
  const std::vector<model::PackedSequences> groups = {sequences};
  const auto hidden = model.decode(model::pack_input(groups, model.position_rank()),
                                   model::packed_attention(model::packed_groups(groups)), {});
  const std::vector<std::int64_t> grid(prepared.grid.begin(), prepared.grid.end());
  model::write_safetensors(out, {{"input_ids", at::tensor(prompt.ids)},
                                 {"pixel_values", prepared.values},
                                 {"image_grid_thw", at::tensor(grid)},
                                 {"logits", model.head(hidden, {})}});
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.at(0) == "values")
    return print_values(nlohmann::json::parse(arguments.at(1)), nlohmann::json::parse(arguments.at(2)));
  auto registry = open_registry();
  model::OpenOptions options;
  options.directory = arguments.at(1);
  const auto model = model::Model::open(registry, options);
  std::unique_ptr<adapt::Adapter> adapter;
  if (arguments.at(0) == "save") {
    adapter =
        adapt::Adapter::attach(*model, registry, attach_options(nlohmann::json::parse(arguments.at(5))));
    randomize(*adapter);
    adapter->save(arguments.at(2));
  } else {
    adapt::AttachOptions stored;
    stored.adapter = arguments.at(2);
    for (std::size_t i = 5; i < arguments.size(); ++i) stored.base_adapters.emplace_back(arguments[i]);
    adapter = adapt::Adapter::attach(*model, registry, stored);
  }
  write_logits(*model, arguments.at(4), arguments.at(3));
  for (const auto& tensor : adapter->tensors()) std::cout << tensor.name << '\n';
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    return graft::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << "adapter_logits: " << e.what() << '\n';
    return 1;
  }
}
