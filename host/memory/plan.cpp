// SPDX-License-Identifier: Apache-2.0
// What a checkpoint policy is asked, and what of its answers is accepted.
#include <graft/checkpoint_policy.h>

#include <nlohmann/json.hpp>

#include "memory/recompute.h"
#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::memory {

namespace {

using support::cat;

// Segments of some of the components, as a policy sees them.
class Asked {
 public:
  template <typename Takes>
  Asked(const std::vector<model::Segment>& segments, const std::vector<SegmentCost>& costs,
        const Takes& takes) {
    std::vector<std::int32_t> place(segments.size(), -1);
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const model::Segment& segment = segments[i];
      if (!takes(segment)) continue;
      place[i] = static_cast<std::int32_t>(infos_.size());
      indices_.push_back(i);
      infos_.push_back({.hdr = GRAFT_HDR(graft_segment_info),
                        .name = plugin::view(segment.name),
                        .parent = segment.parent < 0 ? -1 : place[static_cast<std::size_t>(segment.parent)],
                        .component = segment.component,
                        .activation_bytes = costs[i].activation_bytes,
                        .input_bytes = costs[i].input_bytes,
                        .forward_flops = costs[i].forward_flops});
    }
    for (const graft_segment_info& info : infos_) pointers_.push_back(&info);
  }

  [[nodiscard]] const graft_segment_info* const* data() const { return pointers_.data(); }
  [[nodiscard]] std::size_t size() const { return pointers_.size(); }
  [[nodiscard]] std::size_t index(std::size_t place) const { return indices_[place]; }  // among all segments

 private:
  std::vector<std::size_t> indices_;
  std::vector<graft_segment_info> infos_;
  std::vector<const graft_segment_info*> pointers_;
};

Decision checked(std::int32_t decision, const std::string& policy, const model::Segment& segment) {
  switch (decision) {
    case GRAFT_SEGMENT_KEEP:
      return Decision::kKeep;
    case GRAFT_SEGMENT_RECOMPUTE:
      return Decision::kRecompute;
    case GRAFT_SEGMENT_OFFLOAD:
      return Decision::kOffload;
    default:
      throw support::PluginError(cat("checkpoint policy ", policy, ": the decision for segment ",
                                     segment.name, " is ", decision,
                                     ", expected 0 (keep), 1 (recompute) or 2 (offload)"));
  }
}

// Asks one policy about some of the segments.
void ask(plugin::Registry& registry, const model::Model& model, const PolicyChoice& policy,
         const std::string& where, const Asked& asked, std::vector<Decision>& decisions) {
  const plugin::Component& component = registry.find(GRAFT_KIND_CHECKPOINT_POLICY, policy.name);
  const auto instance = registry.create(component, policy.params, where);
  const auto& table = instance->interface<graft_checkpoint_policy>(GRAFT_INTERFACE_CHECKPOINT_POLICY);
  std::vector<std::int32_t> raw(asked.size(), -1);  // -1: the policy wrote nothing
  plugin::call(cat("checkpoint policy ", policy.name), [&](graft_error* error) {
    return table.plan(instance->raw(), asked.data(), asked.size(), /*budget_bytes=*/0, raw.data(), error);
  });
  for (std::size_t i = 0; i < raw.size(); ++i) {
    decisions[asked.index(i)] = checked(raw[i], policy.name, model.segments()[asked.index(i)]);
  }
}

}  // namespace

std::vector<Decision> plan(plugin::Registry& registry, const model::Model& model, const PolicyChoice& policy,
                           const std::optional<PolicyChoice>& vision, const std::vector<SegmentCost>& costs) {
  const bool trains_vision = model.trains_vision();
  if (vision && !trains_vision) {
    throw support::UserError(
        cat("checkpoint_policy.vision is \"", vision->name,
            "\", but nothing of the vision tower or the projector is trained: they run without gradients and "
            "keep nothing, so this would have no effect; leave it out"));
  }
  std::vector<Decision> decisions(model.segments().size(), Decision::kKeep);
  const Asked first(model.segments(), costs, [&](const model::Segment& segment) {
    return !model::is_vision(segment.component) || (trains_vision && !vision);
  });
  ask(registry, model, policy, "checkpoint_policy.params", first, decisions);
  if (!vision) return decisions;
  const Asked second(model.segments(), costs,
                     [](const model::Segment& segment) { return model::is_vision(segment.component); });
  ask(registry, model, *vision, "checkpoint_policy.vision_params", second, decisions);
  return decisions;
}

}  // namespace graft::memory
