// SPDX-License-Identifier: Apache-2.0
#include "common/policy.h"

#include <stdlib.h>
#include <string.h>

graft_status policy_fail(graft_error *error, graft_status status, const char *text) {
  if (error != NULL && error->capacity > 0) {
    const size_t length = strlen(text);
    error->length = length < error->capacity ? (uint32_t)length : error->capacity - 1;
    memcpy(error->text, text, error->length);
    error->text[error->length] = '\0';
  }
  return status;
}

/* Behind `"key":` at the top of a JSON object without spaces between its tokens, or NULL. Quotes within strings are escaped, so
 * that the pattern occurs nowhere else. */
static const char *find_value(graft_str json, const char *key) {
  const size_t length = strlen(key);
  uint64_t i;
  for (i = 0; i + length + 3 <= json.len; ++i) {
    const char *at = json.ptr + i;
    if (at[0] == '"' && memcmp(at + 1, key, length) == 0 && at[length + 1] == '"' && at[length + 2] == ':') {
      return at + length + 3;
    }
  }
  return NULL;
}

double policy_number(graft_str params_json, const char *key, double fallback) {
  char text[64] = {0};
  const char *value = find_value(params_json, key);
  size_t left;
  char *end = text;
  double number;
  if (value == NULL) return fallback;
  left = (size_t)(params_json.ptr + params_json.len - value);
  memcpy(text, value, left < sizeof(text) ? left : sizeof(text) - 1);
  number = strtod(text, &end);
  return end == text ? fallback : number;
}

void policy_string(graft_str params_json, const char *key, char *out, uint64_t capacity) {
  const char *value = find_value(params_json, key);
  const char *end = params_json.ptr + params_json.len;
  uint64_t length = 0;
  out[0] = '\0';
  if (value == NULL || value >= end || *value != '"') return;
  for (++value; value < end && *value != '"' && length + 1 < capacity; ++value) out[length++] = *value;
  out[length] = '\0';
}

int policy_ends_in(graft_str text, const char *end) {
  const size_t length = strlen(end);
  return text.len >= length && memcmp(text.ptr + text.len - length, end, length) == 0;
}

void policy_warn(const graft_host *host, const char *text) {
  graft_str line;
  line.ptr = text;
  line.len = strlen(text);
  if (GRAFT_HAS(host, graft_host, log)) host->log(host, GRAFT_LOG_WARN, line);
}

const void *policy_interface(const graft_checkpoint_policy *table, graft_str id) {
  static const char known[] = GRAFT_INTERFACE_CHECKPOINT_POLICY;
  return id.len == sizeof(known) - 1 && memcmp(id.ptr, known, sizeof(known) - 1) == 0 ? table : NULL;
}

graft_status policy_create_nothing(const graft_component *self, const graft_host *host, graft_str params_json,
                                   graft_instance **out, graft_error *error) {
  static char nothing;
  (void)self;
  (void)host;
  (void)params_json;
  (void)error;
  *out = (graft_instance *)&nothing;
  return GRAFT_OK;
}

void policy_destroy_nothing(graft_instance *instance) {
  (void)instance;
}
