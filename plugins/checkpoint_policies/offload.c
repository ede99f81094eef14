// SPDX-License-Identifier: Apache-2.0
/* offload: moves the activations of every block away during the forward pass and brings them back for backward. Costs transfers
 * instead of arithmetic. On the CPU "away" is a file (host/memory/offload.h). */
#include "common/policy.h"

static graft_status policy_plan(graft_instance *instance, const graft_segment_info *const *segments,
                                uint64_t n, uint64_t budget_bytes, int32_t *decisions, graft_error *error) {
  uint64_t i;
  (void)instance;
  (void)budget_bytes;
  (void)error;
  for (i = 0; i < n; ++i) {
    decisions[i] = segments[i]->parent < 0 ? GRAFT_SEGMENT_OFFLOAD : GRAFT_SEGMENT_KEEP;
  }
  return GRAFT_OK;
}

POLICY_PLUGIN("offload",
              "move the activations of every block away until backward: transfers instead of arithmetic",
              POLICY_NO_PARAMS, policy_create_nothing, policy_destroy_nothing);
