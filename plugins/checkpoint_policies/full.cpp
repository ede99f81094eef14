// SPDX-License-Identifier: Apache-2.0
// full: recomputes every outermost segment, so that only the inputs of the blocks stay in memory. Costs one more forward
// pass, about a third of the step's arithmetic. Segments within a recomputed one are kept while it is recomputed.
#include <graft/sdk/checkpoint_policy.hpp>

namespace {

struct Full : graft::CheckpointPolicy {
  static constexpr auto name = "full";
  static constexpr auto summary = "recompute every block in backward: least memory, one more forward pass";

  std::vector<graft::Decision> plan(const graft::Segments& segments,
                                    std::uint64_t /*budget_bytes*/) override {
    std::vector<graft::Decision> decisions(segments.size(), graft::Decision::keep);
    for (std::size_t i = 0; i < segments.size(); ++i) {
      if (segments[i].parent == -1) decisions[i] = graft::Decision::recompute;
    }
    return decisions;
  }
};

}  // namespace

GRAFT_PLUGIN(Full);
