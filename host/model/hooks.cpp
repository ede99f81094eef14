// SPDX-License-Identifier: Apache-2.0
#include "model/hooks.h"

namespace graft::model {

namespace {
thread_local TouchedTensors* innermost = nullptr;
}  // namespace

TouchedTensors::TouchedTensors() : outer_(innermost) {
  innermost = this;
}

TouchedTensors::~TouchedTensors() {
  innermost = outer_;
}

void TouchedTensors::note(const at::Tensor& tensor) {
  if (innermost == nullptr || !tensor.defined()) return;
  // A scope that has seen the tensor has told the outer ones.
  for (TouchedTensors* scope = innermost; scope != nullptr; scope = scope->outer_) {
    if (!scope->seen_.insert(tensor.unsafeGetTensorImpl()).second) return;
    if (tensor.has_storage()) scope->storages_.insert(tensor.storage().unsafeGetStorageImpl());
    if (tensor.requires_grad()) scope->tensors_.push_back(tensor);
  }
}

bool TouchedTensors::holds(const at::Tensor& tensor) {
  return innermost != nullptr && tensor.has_storage() &&
         innermost->storages_.count(tensor.storage().unsafeGetStorageImpl()) > 0;
}

const std::vector<at::Tensor>& TouchedTensors::tensors() const {
  return tensors_;
}

}  // namespace graft::model
