// SPDX-License-Identifier: Apache-2.0
/* budget: the cheapest set of segments to recompute such that the activations fit into a limit (search.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/policy.h"
#include "search.h"

struct graft_instance_ {
  const graft_host *host;
  double fraction;
  uint64_t bytes; /* 0: the fraction counts */
};

static void warn_too_small(const graft_instance *self, const budget_limit *limits) {
  char text[256];
  snprintf(text, sizeof(text),
           "checkpoint policy budget: the activations need at least %.1f MiB with every block recomputed, "
           "the limit is "
           "%.1f MiB; every block is recomputed",
           (double)limits->least / 1048576.0, (double)limits->bytes / 1048576.0);
  policy_warn(self->host, text);
}

static graft_status policy_plan(graft_instance *instance, const graft_segment_info *const *segments,
                                uint64_t n, uint64_t budget_bytes, int32_t *decisions, graft_error *error) {
  budget_limit limits = {instance->fraction, instance->bytes, budget_bytes, 0, 1};
  if (!budget_search(segments, n, &limits, decisions)) {
    return policy_fail(error, GRAFT_E_OUT_OF_MEMORY, "no memory for the search");
  }
  if (!limits.fits) warn_too_small(instance, &limits);
  return GRAFT_OK;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

/* "8GiB", "512MiB", "1000000000"; 0 if it is none of these. */
static uint64_t bytes_of(const char *text) {
  static const struct {
    const char *unit;
    double factor;
  } units[] = {{"", 1.0},
               {"B", 1.0},
               {"KiB", 1024.0},
               {"MiB", 1048576.0},
               {"GiB", 1073741824.0},
               {"TiB", 1099511627776.0},
               {"KB", 1e3},
               {"MB", 1e6},
               {"GB", 1e9},
               {"TB", 1e12}};
  char *end = NULL;
  const double number = strtod(text, &end);
  size_t i;
  if (end == text || !(number > 0.0)) return 0;
  while (*end == ' ') ++end;
  for (i = 0; i < sizeof(units) / sizeof(units[0]); ++i) {
    if (strcmp(end, units[i].unit) == 0 && number * units[i].factor < 1.8e19)
      return (uint64_t)(number * units[i].factor);
  }
  return 0;
}

static graft_status create(const graft_component *self, const graft_host *host, graft_str params_json,
                           graft_instance **out, graft_error *error) {
  char text[64];
  uint64_t bytes;
  graft_instance *made;
  (void)self;
  policy_string(params_json, "memory", text, sizeof(text));
  bytes = bytes_of(text);
  if (text[0] != '\0' && bytes == 0) {
    return policy_fail(error, GRAFT_E_INVALID_ARGUMENT,
                       "memory is no amount of bytes, expected one such as \"8GiB\" or \"512MiB\"");
  }
  made = malloc(sizeof(*made));
  if (made == NULL) return policy_fail(error, GRAFT_E_OUT_OF_MEMORY, "out of memory");
  made->host = host;
  made->fraction = policy_number(params_json, "fraction", 0.5);
  made->bytes = bytes;
  *out = made;
  return GRAFT_OK;
}

static void destroy(graft_instance *instance) {
  free(instance);
}

#define SCHEMA                                                                                          \
  "{\"type\": \"object\", \"properties\": {"                                                            \
  "\"fraction\": {\"type\": \"number\", \"default\": 0.5, \"exclusiveMinimum\": 0, \"maximum\": 1, "    \
  "\"description\": \"limit of the activations' memory, as a share of what they take under the policy " \
  "none\"}, "                                                                                           \
  "\"memory\": {\"type\": \"string\", \"default\": \"\", "                                              \
  "\"description\": \"the limit itself, such as 8GiB, instead of a share\"}}}"

POLICY_PLUGIN("budget", "the cheapest recomputation that fits into a given memory", SCHEMA, create, destroy);
