// SPDX-License-Identifier: Apache-2.0
#include "memory/saved_tensors.h"

#include <torch/csrc/autograd/engine.h>

#include <mutex>
#include <stdexcept>
#include <utility>

#include "support/strings.h"

namespace graft::memory {

namespace {

using torch::autograd::Engine;

thread_local SavedTensorHandler* current = nullptr;

// The process's engine with hooks for saved tensors. Everything that computes goes to the engine that was there before.
class HookedEngine final : public Engine {
 public:
  explicit HookedEngine(Engine& before) : before_(before) {}

  torch::autograd::variable_list execute(const torch::autograd::edge_list& roots,
                                         const torch::autograd::variable_list& inputs, bool keep_graph,
                                         bool create_graph, bool accumulate_grad,
                                         const torch::autograd::edge_list& outputs) override {
    return before_.execute(roots, inputs, keep_graph, create_graph, accumulate_grad, outputs);
  }
  c10::intrusive_ptr<at::ivalue::Future> execute_with_graph_task(
      const std::shared_ptr<torch::autograd::GraphTask>& graph_task,
      std::shared_ptr<torch::autograd::Node> graph_root,
      torch::autograd::InputBuffer&& input_buffer) override {
    return before_.execute_with_graph_task(graph_task, std::move(graph_root), std::move(input_buffer));
  }
  std::unique_ptr<torch::autograd::AnomalyMetadata> make_anomaly_metadata() override {
    return before_.make_anomaly_metadata();
  }
  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    return current == nullptr ? before_.get_default_saved_variable_hooks() : current->hooks();
  }

 private:
  Engine& before_;
};

HookedEngine* installed = nullptr;  // never freed: autograd's threads may outlive everything

void install() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  Engine& now = Engine::get_default_engine();
  if (&now == installed) return;
  installed = new HookedEngine(now);
  torch::autograd::set_default_engine_stub([]() -> Engine& { return *installed; });
}

}  // namespace

SavedTensorScope::SavedTensorScope(SavedTensorHandler& handler) : outer_(current) {
  install();
  current = &handler;
}

SavedTensorScope::~SavedTensorScope() {
  current = outer_;
}

SavedTensorHandler* SavedTensorScope::innermost() {
  return current;
}

KeptTensor::KeptTensor(const at::Tensor& tensor) : tensor_(tensor.detach()), version_(tensor._version()) {}

const at::Tensor& KeptTensor::get() const {
  if (tensor_._version() != version_) {
    throw std::runtime_error(support::cat(
        "a tensor that backward needs was changed in place after the forward pass: it is at version ",
        tensor_._version(), ", expected ", version_));
  }
  return tensor_;
}

}  // namespace graft::memory
