// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "memory/segment_costs.h"
#include "model/model.h"
#include "plugin/registry.h"

namespace graft::memory {

// Values of GRAFT_SEGMENT_*.
enum class Decision : std::int32_t { kKeep = 0, kRecompute = 1, kOffload = 2 };

// The one mechanism of all policies. The forward pass records the same graph under every decision, so gradients flow wherever
// they would without checkpointing: a frozen embedding cannot cut it ("element 0 of tensors does not require grad and does not
// have a grad_fn" cannot occur). What differs is what becomes of the tensors that the graph saves within a segment; weights are
// never touched:
//   kKeep       they stay.
//   kRecompute  they are dropped, the segment's inputs kept. The first of them that backward asks for runs the body again, from
//               the inputs and with the random state of the first run, until the last one still wanted exists (early stop).
//   kOffload    they move out of memory, see memory/offload.h, and come back one by one when backward asks for them.
// Segments nest. A recomputed segment within another one is recomputed from inputs that the outer one recomputes; kOffload
// within a recomputed segment applies to what the recomputation holds. Without autograd (rollouts) bodies simply run.
[[nodiscard]] std::shared_ptr<model::SegmentHook> recompute_hook(std::vector<Decision> decisions);

// A checkpoint policy and its parameters.
struct PolicyChoice {
  std::string name;
  nlohmann::json params;
};

// Asks a checkpoint policy plugin about segments with these costs, and another one about those of the vision tower if `vision` is
// there. Segments of a frozen vision tower, which keep nothing, are not asked about. Throws PluginError for decisions out of range,
// UserError for a vision policy without anything to decide.
[[nodiscard]] std::vector<Decision> plan(plugin::Registry& registry, const model::Model& model,
                                         const PolicyChoice& policy,
                                         const std::optional<PolicyChoice>& vision,
                                         const std::vector<SegmentCost>& costs);

}  // namespace graft::memory
