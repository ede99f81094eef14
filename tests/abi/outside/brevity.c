/* SPDX-License-Identifier: Apache-2.0
 * A reward in plain C, written against the installed headers and nothing else: the shorter the completion, the higher
 * its score, 1 - bytes / limit, at least 0. */
#include <graft/plugin.h>
#include <graft/reward.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct graft_instance_ {
  double limit;
};

static graft_status fail(graft_error *error, graft_status status, const char *message) {
  if (error != NULL && error->capacity > 0) {
    const int length = snprintf(error->text, error->capacity, "%s", message);
    error->length = (uint32_t)length < error->capacity ? (uint32_t)length : error->capacity - 1;
  }
  return status;
}

static graft_status create(const graft_component *self, const graft_host *host, graft_str params,
                           graft_instance **out, graft_error *error) {
  /* The host sends every parameter, with sorted keys and no spaces: {"limit":200}. */
  char text[64];
  double limit = 0.0;
  graft_instance *made;
  (void)self;
  if (params.len >= sizeof(text)) return fail(error, GRAFT_E_INVALID_ARGUMENT, "parameters are too long");
  if (params.len > 0) memcpy(text, params.ptr, params.len);
  text[params.len] = '\0';
  if (sscanf(text, "{\"limit\":%lf}", &limit) != 1 || !(limit > 0.0)) {
    return fail(error, GRAFT_E_INVALID_ARGUMENT, "limit is missing, expected a number above 0");
  }
  made = malloc(sizeof(*made));
  if (made == NULL) return fail(error, GRAFT_E_OUT_OF_MEMORY, "out of memory");
  made->limit = limit;
  *out = made;
  if (GRAFT_HAS(host, graft_host, log)) {
    const graft_str line = GRAFT_STR("brevity is ready");
    host->log(host, GRAFT_LOG_DEBUG, line);
  }
  return GRAFT_OK;
}

static void destroy(graft_instance *instance) {
  free(instance);
}

static graft_status describe(graft_instance *instance, const graft_reward_desc **out, graft_error *error) {
  static const graft_str names[] = {GRAFT_STR("brevity")};
  static const graft_reward_desc desc = {GRAFT_HDR(graft_reward_desc), names, 1, 0, 0.0, 1.0, NULL};
  (void)instance;
  (void)error;
  *out = &desc;
  return GRAFT_OK;
}

static graft_status score(graft_instance *instance, const graft_reward_batch *batch,
                          const graft_reward_result *result, graft_error *error) {
  uint64_t i;
  (void)error;
  for (i = 0; i < batch->n_items; ++i) {
    const double rest = 1.0 - (double)batch->items[i]->completion.len / instance->limit;
    result->scores[i] = rest > 0.0 ? rest : 0.0;
  }
  return GRAFT_OK;
}

static const void *get_interface(const graft_component *self, graft_str id) {
  static const char known[] = GRAFT_INTERFACE_REWARD;
  static const graft_reward table = {GRAFT_HDR(graft_reward), describe, score};
  (void)self;
  return id.len == sizeof(known) - 1 && memcmp(id.ptr, known, sizeof(known) - 1) == 0 ? &table : NULL;
}

static graft_status init(const graft_host *host, const graft_library **out, graft_error *error) {
  static const graft_component component = {
      GRAFT_HDR(graft_component),
      GRAFT_STR(GRAFT_KIND_REWARD),
      GRAFT_STR("brevity"),
      GRAFT_STR("1.0.0"),
      GRAFT_STR("shorter completions score higher"),
      GRAFT_STR("{\"type\": \"object\", \"properties\": {\"limit\": {\"type\": \"number\", \"default\": 200,"
                " \"exclusiveMinimum\": 0, \"description\": \"bytes at which the score reaches 0\"}}}"),
      GRAFT_THREAD_CONCURRENT,
      0,
      create,
      destroy,
      get_interface};
  static const graft_component *const components[] = {&component};
  static const graft_library library = {GRAFT_HDR(graft_library), components, 1};
  (void)host;
  (void)error;
  *out = &library;
  return GRAFT_OK;
}

const graft_manifest *graft_plugin_manifest_v1(void) {
  static const graft_manifest manifest = {
      GRAFT_MAGIC,         GRAFT_HDR(graft_manifest), GRAFT_ABI_MAJOR,    GRAFT_ABI_MINOR, 0,
      GRAFT_TIER_PORTABLE, GRAFT_STR("brevity"),      GRAFT_STR("1.0.0"), GRAFT_STR(""),   init};
  return &manifest;
}
