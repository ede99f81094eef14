// SPDX-License-Identifier: Apache-2.0
// graft's half of optimizer_torch.py:
//
//   optimizer_steps IN OUT LR WEIGHT_DECAY MAX_NORM   reads "<name>" and gradients "<step>.<name>" from IN, clips and steps,
//                                                     writes the values after the last step and the norm of each step
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "adapt/optimizer.h"
#include "model/safetensors.h"

namespace graft {
namespace {

int run(const std::vector<std::string>& arguments) {
  const model::SafetensorsFile file(arguments.at(0));
  std::vector<adapt::AdapterTensor> trained;
  for (const auto& entry : file.entries()) {
    if (entry.name.find('.') != std::string::npos) continue;
    adapt::AdapterTensor tensor;
    tensor.name = entry.name;
    tensor.tensor = file.read(entry.name).requires_grad_(true);
    trained.push_back(tensor);
  }
  const double learning_rate = std::stod(arguments.at(2));
  adapt::AdamW optimizer(trained, {.weight_decay = std::stod(arguments.at(3))});
  std::vector<double> norms;
  for (int step = 0;; ++step) {
    bool has_gradients = false;
    optimizer.zero_grad();
    for (const auto& tensor : trained) {
      const auto name = std::to_string(step) + "." + tensor.name;
      if (file.find(name) == nullptr) continue;
      tensor.tensor.mutable_grad() = file.read(name);
      has_gradients = true;
    }
    if (!has_gradients) break;
    norms.push_back(optimizer.clip_grad_norm(std::stod(arguments.at(4))));
    optimizer.step(learning_rate);
  }
  model::NamedTensors out = {{"norms", at::tensor(norms, at::kDouble)}};
  for (const auto& tensor : trained) out.emplace_back(tensor.name, tensor.tensor.detach());
  model::write_safetensors(arguments.at(1), out);
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  try {
    return graft::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << "optimizer_steps: " << e.what() << '\n';
    return 1;
  }
}
