// SPDX-License-Identifier: Apache-2.0
// graft's half of autocast_torch.py:
//
//   autocast_gradients MODEL ADAPTER IMAGE OUT DTYPE COMPUTE_DTYPE
//
// Loads ADAPTER onto MODEL in the given precision (COMPUTE_DTYPE "none": no autocast) and writes to OUT the logits of a prompt about
// IMAGE with a completion, the gradients of the sum of the completion's log-probabilities as "grad.<name>", and the inputs that
// transformers needs to compute the same.
#include <ATen/ops/tensor.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "model/attention.h"
#include "model/packed_input.h"
#include "model/safetensors.h"
#include "model/tensor_services.h"
#include "objective/logprobs.h"
#include "plugin/host_services.h"

namespace graft {
namespace {

plugin::Registry open_registry() {
  model::register_tensor_services();
  plugin::Registry registry(plugin::host_table());
  for (const auto& entry : std::filesystem::directory_iterator(GRAFT_PLUGIN_DIR)) registry.load(entry.path());
  return registry;
}

void run(const std::vector<std::string>& arguments) {
  auto registry = open_registry();
  model::OpenOptions options;
  options.directory = arguments.at(0);
  options.dtype = arguments.at(4);
  if (arguments.at(5) != "none") options.compute_dtype = arguments.at(5);
  const auto model = model::Model::open(registry, options);
  const auto adapter = adapt::Adapter::load(*model, registry, arguments.at(1));

  const std::vector<image::Image> images = {image::load_image(arguments.at(2))};
  const auto prompt = model->prepare({{"user", "Where is the red circle?", 1}}, images, {&arguments[2], 1});
  const std::vector<std::int64_t> completion =
      model->tokenizer().encode("The red circle is at [12, 34, 56, 78].");
  const std::vector<const model::PreparedImage*> pointers = {&prompt.images.front()};
  const at::Tensor features = model->encode_images(pointers, {});

  const std::vector<objective::ScoredGroup> scored = {{&prompt, features, {completion}}};
  const at::Tensor logprobs = objective::completion_logprobs(*model, scored, {}).logprobs;
  logprobs.sum().backward();

  const std::vector<model::PackedSequences> groups = {{&prompt, features.detach(), {completion}}};
  const at::Tensor hidden = model->decode(model::pack_input(groups, model->position_rank()),
                                          model::packed_attention(model::packed_groups(groups)), {});
  std::vector<std::int64_t> ids = prompt.ids;
  ids.insert(ids.end(), completion.begin(), completion.end());
  const std::vector<std::int64_t> grid(prompt.images.front().grid.begin(), prompt.images.front().grid.end());
  model::NamedTensors out = {{"input_ids", at::tensor(ids)},
                             {"prompt_length", at::tensor(static_cast<std::int64_t>(prompt.ids.size()))},
                             {"pixel_values", prompt.images.front().values},
                             {"image_grid_thw", at::tensor(grid)},
                             {"logprobs", logprobs.detach()},
                             {"logits", model->head(hidden, {}).detach().to(at::kFloat)}};
  for (const adapt::AdapterTensor& item : adapter->tensors())
    out.emplace_back("grad." + item.name, item.tensor.grad());
  model::write_safetensors(arguments.at(3), out);
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    graft::run({argv + 1, argv + argc});
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "autocast_gradients: " << e.what() << '\n';
    return 1;
  }
}
