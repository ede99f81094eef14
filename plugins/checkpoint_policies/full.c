// SPDX-License-Identifier: Apache-2.0
/* full: recomputes every outermost segment, so that only the inputs of the blocks stay in memory. Costs one more forward pass: a
 * third of the arithmetic of full fine-tuning, half of LoRA's. Segments within a recomputed one are kept while it is recomputed. */
#include "common/policy.h"

static graft_status policy_plan(graft_instance *instance, const graft_segment_info *const *segments,
                                uint64_t n, uint64_t budget_bytes, int32_t *decisions, graft_error *error) {
  uint64_t i;
  (void)instance;
  (void)budget_bytes;
  (void)error;
  for (i = 0; i < n; ++i) {
    decisions[i] = segments[i]->parent < 0 ? GRAFT_SEGMENT_RECOMPUTE : GRAFT_SEGMENT_KEEP;
  }
  return GRAFT_OK;
}

POLICY_PLUGIN("full", "recompute every block in backward: least memory, one more forward pass",
              POLICY_NO_PARAMS, policy_create_nothing, policy_destroy_nothing);
