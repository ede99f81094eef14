// SPDX-License-Identifier: Apache-2.0
// Mixed precision: float32 weights, matrix products in bfloat16.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <optional>

namespace graft::model {

// torch.autocast(device, dtype) for a scope of this thread: every operator that LibTorch lists as worth it (linear, matmul,
// addmm …) casts its operands to `dtype`, those that need float32 get float32. Without a dtype autocast is off in the scope,
// whatever surrounds it. At its end the thread's state is what it was. Scopes nest. Backward passes belong outside of it: a
// gradient has the dtype of what it is the gradient of.
//
// LibTorch's cache of cast weights is off in the scope, and neither read, filled nor cleared: a cached cast outlives changes of the
// weight (an optimizer step, reference values swapped in), and in some versions it lacks the graph if it was made without autograd
// (rollout, first run of a recomputed segment; pytorch issue 112583), so that the weight silently gets no gradient. A pass uses each
// weight about once, so little is lost.
class AutocastScope {
 public:
  AutocastScope(c10::DeviceType device, std::optional<c10::ScalarType> dtype);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  c10::DeviceType device_;
  bool was_enabled_, had_cache_;
  c10::ScalarType former_dtype_;
};

// The dtype that matrix products on `device` give on this thread now; none if autocast is off.
[[nodiscard]] std::optional<c10::ScalarType> autocast_dtype(c10::DeviceType device);

}  // namespace graft::model
