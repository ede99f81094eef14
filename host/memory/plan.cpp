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

std::vector<graft_segment_info> segment_infos(const std::vector<model::Segment>& segments,
                                              std::int64_t tokens, std::int64_t bytes_per_value) {
  const auto n_tokens = static_cast<std::uint64_t>(tokens);
  const auto n_bytes = n_tokens * static_cast<std::uint64_t>(bytes_per_value);
  std::vector<graft_segment_info> out;
  out.reserve(segments.size());
  for (const model::Segment& segment : segments) {
    out.push_back({.hdr = GRAFT_HDR(graft_segment_info),
                   .name = plugin::view(segment.name),
                   .parent = segment.parent,
                   .component = segment.component,
                   .activation_bytes = segment.activation_values_per_token * n_bytes,
                   .input_bytes = segment.input_values_per_token * n_bytes,
                   .forward_flops = segment.flops_per_token * n_tokens});
  }
  return out;
}

Decision checked(std::int32_t decision, const std::string& policy, const model::Segment& segment) {
  switch (decision) {
    case GRAFT_SEGMENT_KEEP:
      return Decision::kKeep;
    case GRAFT_SEGMENT_RECOMPUTE:
      return Decision::kRecompute;
    case GRAFT_SEGMENT_OFFLOAD:
      throw support::UserError(
          cat("the checkpoint policy ", policy, " decided to offload segment ", segment.name,
              ", which this version of graft cannot do; choose a policy or parameters that only "
              "keep and recompute"));
    default:
      throw support::PluginError(cat("checkpoint policy ", policy, ": the decision for segment ",
                                     segment.name, " is ", decision,
                                     ", expected 0 (keep), 1 (recompute) or 2 (offload)"));
  }
}

}  // namespace

std::vector<Decision> plan(plugin::Registry& registry, const model::Model& model, const std::string& policy,
                           const nlohmann::json& params, std::int64_t tokens, std::int64_t bytes_per_value,
                           std::uint64_t budget_bytes) {
  const plugin::Component& component = registry.find(GRAFT_KIND_CHECKPOINT_POLICY, policy);
  const auto instance = registry.create(component, params, "checkpoint_policy.params");
  const auto& table = instance->interface<graft_checkpoint_policy>(GRAFT_INTERFACE_CHECKPOINT_POLICY);

  const std::vector<model::Segment>& segments = model.segments();
  const std::vector<graft_segment_info> infos = segment_infos(segments, tokens, bytes_per_value);
  std::vector<const graft_segment_info*> pointers;
  for (const graft_segment_info& info : infos) pointers.push_back(&info);
  std::vector<std::int32_t> raw(segments.size(), -1);  // -1: the policy wrote nothing
  plugin::call(cat("checkpoint policy ", policy), [&](graft_error* error) {
    return table.plan(instance->raw(), pointers.data(), pointers.size(), budget_bytes, raw.data(), error);
  });

  std::vector<Decision> decisions;
  for (std::size_t i = 0; i < segments.size(); ++i) decisions.push_back(checked(raw[i], policy, segments[i]));
  return decisions;
}

}  // namespace graft::memory
