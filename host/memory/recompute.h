// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "model/model.h"
#include "plugin/registry.h"

namespace graft::memory {

enum class Decision : std::int32_t { kKeep = 0, kRecompute = 1 };  // values of GRAFT_SEGMENT_*

// The one recompute mechanism. A recomputed segment runs its body without autograd, keeps the inputs, and
// runs the body again in backward with the random state of the first run. The trained tensors that the body
// used are inputs of the node, so a frozen embedding cannot cut the graph: "element 0 of tensors does not
// require grad and does not have a grad_fn" cannot occur. Without autograd (rollout) bodies simply run.
// Segments nest.
[[nodiscard]] std::shared_ptr<model::SegmentHook> recompute_hook(std::vector<Decision> decisions);

// Asks a checkpoint policy plugin; `tokens` is the number of flat tokens of the planned pass,
// `bytes_per_value` that of the compute dtype. Throws PluginError for decisions out of range, UserError for
// one the host does not offer.
[[nodiscard]] std::vector<Decision> plan(plugin::Registry& registry, const model::Model& model,
                                         const std::string& policy, const nlohmann::json& params,
                                         std::int64_t tokens, std::int64_t bytes_per_value,
                                         std::uint64_t budget_bytes);

}  // namespace graft::memory
