// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <memory>

namespace graft::memory {

// Decides what becomes of the tensors that autograd saves for backward.
class SavedTensorHandler {
 public:
  virtual ~SavedTensorHandler() = default;
  // For the next tensor to be saved: its hooks, which receive it at once (pack) and give it back in backward (unpack).
  // May be called on any thread that a scope of it is open on.
  virtual std::unique_ptr<torch::autograd::SavedVariableHooks> hooks() = 0;
};

// While it lives, what autograd saves on this thread goes to `handler`, which must outlive it. Scopes nest; the innermost counts.
// The C++ counterpart of torch.autograd.graph.saved_tensors_hooks, which LibTorch keeps for Python: the process's autograd
// engine is wrapped in one that only adds this, once, at the first scope (and again if Python's torch came to be loaded since).
class SavedTensorScope {
 public:
  explicit SavedTensorScope(SavedTensorHandler& handler);
  ~SavedTensorScope();
  SavedTensorScope(const SavedTensorScope&) = delete;
  SavedTensorScope& operator=(const SavedTensorScope&) = delete;

  // The handler of this thread's innermost scope, null outside of scopes.
  [[nodiscard]] static SavedTensorHandler* innermost();

 private:
  SavedTensorHandler* outer_;
};

// A saved tensor that stays where it is, but does not keep its graph. Notices in-place changes, as autograd does without hooks.
class KeptTensor {
 public:
  KeptTensor() = default;
  explicit KeptTensor(const at::Tensor& tensor);
  // Throws std::runtime_error if the tensor was changed since.
  [[nodiscard]] const at::Tensor& get() const;
  [[nodiscard]] bool defined() const { return tensor_.defined(); }

 private:
  at::Tensor tensor_;
  std::int64_t version_ = 0;
};

}  // namespace graft::memory
