// SPDX-License-Identifier: Apache-2.0
#include "memory/random_state.h"

#include <ATen/Context.h>

#include <algorithm>
#include <mutex>

#include "support/log.h"
#include "support/strings.h"

namespace graft::memory {

namespace {

at::Tensor get_state(at::Generator& generator) {
  const std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

void set_state(at::Generator& generator, const at::Tensor& state) {
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

}  // namespace

RandomState RandomState::capture(const std::vector<at::Tensor>& inputs) {
  std::vector<c10::Device> devices = {c10::Device(c10::kCPU)};
  for (const at::Tensor& input : inputs) {
    if (!input.defined() || std::find(devices.begin(), devices.end(), input.device()) != devices.end())
      continue;
    if (!input.is_cpu() && !input.is_meta()) devices.push_back(input.device());
  }
  RandomState out;
  for (const c10::Device device : devices) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const at::Tensor state = get_state(generator);
    out.states_.emplace_back(std::move(generator), state);
  }
  return out;
}

RandomState::Scope::Scope(const RandomState& replayed) {
  for (const auto& [generator, state] : replayed.states_) {
    before_.emplace_back(generator, at::Tensor());
    before_.back().second = get_state(before_.back().first);
    set_state(before_.back().first, state);
  }
}

RandomState::Scope::~Scope() {
  for (auto& [generator, state] : before_) {
    try {
      set_state(generator, state);
    } catch (const std::exception& e) {
      support::log_error(support::cat("could not restore a random state after recomputation: ", e.what()));
    }
  }
}

}  // namespace graft::memory
