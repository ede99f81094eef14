// SPDX-License-Identifier: Apache-2.0
#include <graft/checkpoint_policy.h>

#include <limits>
#include <vector>

#include "plugin/check_context.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

// A random forest of segments.
struct Segments {
  std::vector<std::string> names;
  std::vector<graft_segment_info> infos;
  std::vector<const graft_segment_info*> pointers;
};

Segments random_segments(support::KeyedRandom& random, std::size_t n) {
  Segments made;
  for (std::size_t i = 0; i < n; ++i) {
    graft_segment_info info{};
    info.hdr = GRAFT_HDR(graft_segment_info);
    info.parent = i == 0 || random.below(3) == 0 ? -1 : static_cast<std::int32_t>(random.below(i));
    made.names.push_back(info.parent < 0 ? cat("language.layers.", i)
                                         : cat(made.names[static_cast<std::size_t>(info.parent)], ".", i));
    info.component =
        static_cast<std::int32_t>(random.between(GRAFT_COMPONENT_LANGUAGE, GRAFT_COMPONENT_HEAD));
    info.activation_bytes = random.below(1ULL << 34);
    info.input_bytes = random.below(1ULL << 28);
    info.forward_flops = random.below(1ULL << 44);
    made.infos.push_back(info);
  }
  for (std::size_t i = 0; i < n; ++i) {
    made.infos[i].name = view(made.names[i]);
    made.pointers.push_back(&made.infos[i]);
  }
  return made;
}

// "" or what is wrong with the decisions on these segments.
std::string check_plan(const Instance& policy, const Segments& segments, std::uint64_t budget,
                       std::vector<std::int32_t>& decisions) {
  constexpr std::int32_t kWatch = 0x5a5a5a5a;
  const std::size_t n = segments.pointers.size();
  decisions.assign(n + 1, kWatch);
  const auto& table = policy.interface<graft_checkpoint_policy>(GRAFT_INTERFACE_CHECKPOINT_POLICY);
  call(policy.component().label(), [&](graft_error* error) {
    return table.plan(policy.raw(), segments.pointers.data(), n, budget, decisions.data(), error);
  });
  for (std::size_t i = 0; i < n; ++i) {
    if (decisions[i] < GRAFT_SEGMENT_KEEP || decisions[i] > GRAFT_SEGMENT_OFFLOAD) {
      return cat("decision ", i, " of ", n, " is ", decisions[i], ", expected ", GRAFT_SEGMENT_KEEP, " to ",
                 GRAFT_SEGMENT_OFFLOAD);
    }
  }
  return decisions[n] == kWatch ? "" : cat("wrote past the ", n, " decisions");
}

}  // namespace

void check_checkpoint_policy(CheckContext& context) {
  const std::shared_ptr<Instance> policy = default_instance(context);
  if (policy == nullptr) return;
  context.check("decisions", [&]() -> std::string {
    support::KeyedRandom random = context.random("segments");
    for (const std::size_t n : {0U, 1U, 2U, 7U, 64U, 1000U}) {
      const Segments segments = random_segments(random, n);
      for (const std::uint64_t budget : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32,
                                         std::numeric_limits<std::uint64_t>::max()}) {
        std::vector<std::int32_t> first;
        std::vector<std::int32_t> second;
        std::string problem = check_plan(*policy, segments, budget, first);
        if (problem.empty()) problem = check_plan(*policy, segments, budget, second);
        if (!problem.empty()) return problem;
        if (first != second) return "decides differently when asked again, expected the same decisions";
      }
    }
    return {};
  });
}

}  // namespace graft::plugin
