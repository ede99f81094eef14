// SPDX-License-Identifier: Apache-2.0
// none: keeps every activation. The fastest policy, and the one that needs the most memory.
#include <graft/sdk/checkpoint_policy.hpp>

namespace {

struct None : graft::CheckpointPolicy {
  static constexpr auto name = "none";
  static constexpr auto summary = "keep all activations: fastest, most memory";

  std::vector<graft::Decision> plan(const graft::Segments& segments,
                                    std::uint64_t /*budget_bytes*/) override {
    return std::vector<graft::Decision>(segments.size(), graft::Decision::keep);
  }
};

}  // namespace

GRAFT_PLUGIN(None);
