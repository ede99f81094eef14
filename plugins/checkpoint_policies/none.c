// SPDX-License-Identifier: Apache-2.0
/* none: keeps every activation. The fastest policy, and the one that needs the most memory. */
#include "common/policy.h"

static graft_status policy_plan(graft_instance *instance, const graft_segment_info *const *segments,
                                uint64_t n, uint64_t budget_bytes, int32_t *decisions, graft_error *error) {
  uint64_t i;
  (void)instance;
  (void)segments;
  (void)budget_bytes;
  (void)error;
  for (i = 0; i < n; ++i) decisions[i] = GRAFT_SEGMENT_KEEP;
  return GRAFT_OK;
}

POLICY_PLUGIN("none", "keep all activations: fastest, most memory", POLICY_NO_PARAMS, policy_create_nothing,
              policy_destroy_nothing);
