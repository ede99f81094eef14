// SPDX-License-Identifier: Apache-2.0
// The host's side of graft_exec: where a family's forward pass meets the PEFT strategy, the checkpoint policy
// and the sequences of the pass.
#pragma once

#include <graft/model_family.h>

#include <exception>
#include <functional>
#include <memory>

#include "model/autocast.h"
#include "model/core.h"
#include "model/hooks.h"

namespace graft::model {

// One pass over the model. The bodies of recomputed segments share it, so it outlives the forward call. The
// hooks are those of its beginning.
struct Pass {
  std::shared_ptr<const ModelCore> core;
  PassOptions options;
  std::shared_ptr<SequenceAttention> attention;  // null for passes without sequences (vision, head)
  std::shared_ptr<LinearHook> linear_hook;
  std::shared_ptr<SegmentHook> segment_hook;
};

[[nodiscard]] std::shared_ptr<const Pass> make_pass(std::shared_ptr<const ModelCore> core,
                                                    const PassOptions& options,
                                                    std::shared_ptr<SequenceAttention> attention = nullptr);

// The precision of the model, for a scope that computes with its weights.
[[nodiscard]] AutocastScope precision_of(const ModelCore& core);

// The linear layer of `site` with whatever the strategy adds, in the precision of the caller's scope.
[[nodiscard]] at::Tensor apply_linear(const Pass& pass, std::uint32_t site, const at::Tensor& x);

// Calls a slot of the family that takes a graft_exec, in the precision of the model. An error that one of its callbacks threw (UserError,
// Interrupted …) comes out as it was, not as the plugin's retelling.
void call_with_exec(const std::shared_ptr<const Pass>& pass, const char* what,
                    const std::function<graft_status(const graft_exec*, graft_error*)>& slot);

}  // namespace graft::model
