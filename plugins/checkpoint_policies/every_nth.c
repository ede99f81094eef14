// SPDX-License-Identifier: Apache-2.0
/* every_nth: recomputes the first of each n blocks of a component, so memory and time lie between those of "full" (n = 1) and
 * "none". */
#include <stdlib.h>

#include "common/policy.h"

struct graft_instance_ {
  uint64_t n;
};

static graft_status create(const graft_component *self, const graft_host *host, graft_str params_json,
                           graft_instance **out, graft_error *error) {
  graft_instance *made = malloc(sizeof(*made));
  (void)self;
  (void)host;
  if (made == NULL) return policy_fail(error, GRAFT_E_OUT_OF_MEMORY, "out of memory");
  made->n = (uint64_t)policy_number(params_json, "n", 2.0);
  *out = made;
  return GRAFT_OK;
}

static void destroy(graft_instance *instance) {
  free(instance);
}

static graft_status policy_plan(graft_instance *instance, const graft_segment_info *const *segments,
                                uint64_t n, uint64_t budget_bytes, int32_t *decisions, graft_error *error) {
  uint64_t blocks[GRAFT_COMPONENT_HEAD + 1] = {0};
  uint64_t i;
  (void)budget_bytes;
  (void)error;
  for (i = 0; i < n; ++i) {
    const int32_t component = segments[i]->component;
    uint64_t *count = &blocks[component >= 0 && component <= GRAFT_COMPONENT_HEAD ? component : 0];
    decisions[i] = GRAFT_SEGMENT_KEEP;
    if (segments[i]->parent < 0 && (*count)++ % instance->n == 0) decisions[i] = GRAFT_SEGMENT_RECOMPUTE;
  }
  return GRAFT_OK;
}

#define SCHEMA                                                                              \
  "{\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\", \"default\": 2, " \
  "\"minimum\": 1, \"maximum\": 1000000, \"description\": \"one block of this many is recomputed\"}}}"

POLICY_PLUGIN("every_nth", "recompute one block of each n", SCHEMA, create, destroy);
