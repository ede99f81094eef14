// SPDX-License-Identifier: Apache-2.0
/* selective: recomputes one part of every block. "attention" has the better ratio of memory to arithmetic, after Korthikanti et al.
 * 2022 (arXiv:2205.05198); "mlp" frees more, since a decoder's MLP is several times as wide. */
#include <stdlib.h>
#include <string.h>

#include "common/policy.h"

struct graft_instance_ {
  const graft_host *host;
  const char *end; /* of the names of the segments to recompute */
};

static graft_status create(const graft_component *self, const graft_host *host, graft_str params_json,
                           graft_instance **out, graft_error *error) {
  char part[16];
  graft_instance *made = malloc(sizeof(*made));
  (void)self;
  if (made == NULL) return policy_fail(error, GRAFT_E_OUT_OF_MEMORY, "out of memory");
  policy_string(params_json, "part", part, sizeof(part));
  made->host = host;
  made->end = strcmp(part, "attention") == 0 ? ".attn" : ".mlp";
  *out = made;
  return GRAFT_OK;
}

static void destroy(graft_instance *instance) {
  free(instance);
}

static graft_status policy_plan(graft_instance *instance, const graft_segment_info *const *segments,
                                uint64_t n, uint64_t budget_bytes, int32_t *decisions, graft_error *error) {
  uint64_t i;
  int found = 0;
  (void)budget_bytes;
  (void)error;
  for (i = 0; i < n; ++i) {
    const int is_part = policy_ends_in(segments[i]->name, instance->end);
    decisions[i] = is_part ? GRAFT_SEGMENT_RECOMPUTE : GRAFT_SEGMENT_KEEP;
    found |= is_part;
  }
  if (n > 0 && !found) {
    policy_warn(instance->host,
                "the checkpoint policy selective found no such part in this model and keeps everything");
  }
  return GRAFT_OK;
}

#define SCHEMA                                                                                          \
  "{\"type\": \"object\", \"properties\": {\"part\": {\"type\": \"string\", \"enum\": [\"attention\", " \
  "\"mlp\"], \"default\": \"mlp\", \"description\": \"what of each block is recomputed\"}}}"

POLICY_PLUGIN("selective", "recompute only attention, or only the MLP, of every block", SCHEMA, create,
              destroy);
