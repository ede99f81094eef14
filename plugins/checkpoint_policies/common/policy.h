// SPDX-License-Identifier: Apache-2.0
/* What the policies share: the frame of a plugin with one component, and reading its parameters. C99. */
#ifndef GRAFT_CHECKPOINT_POLICIES_POLICY_H
#define GRAFT_CHECKPOINT_POLICIES_POLICY_H

#include <graft/checkpoint_policy.h>
#include <graft/plugin.h>

#define POLICY_NO_PARAMS ""

/* Writes `text` into `error` (NULL allowed) and returns `status`. */
graft_status policy_fail(graft_error *error, graft_status status, const char *text);

/* The value of a number or a string among the resolved parameters; the fallback if it is not there. The string is cut to
 * capacity - 1 characters and terminated. */
double policy_number(graft_str params_json, const char *key, double fallback);
void policy_string(graft_str params_json, const char *key, char *out, uint64_t capacity);

/* 1 if the text ends in `end`. */
int policy_ends_in(graft_str text, const char *end);

/* The host's log, one line. */
void policy_warn(const graft_host *host, const char *text);

/* get_interface of every policy. */
const void *policy_interface(const graft_checkpoint_policy *table, graft_str id);

/* create and destroy of a policy without parameters. */
graft_status policy_create_nothing(const graft_component *self, const graft_host *host, graft_str params_json,
                                   graft_instance **out, graft_error *error);
void policy_destroy_nothing(graft_instance *instance);

/* Ends a file: the component `policy_name`, whose plan is policy_plan(), made by create_slot and destroy_slot. */
#define POLICY_PLUGIN(policy_name, policy_summary, policy_schema, create_slot, destroy_slot)               \
  static const graft_checkpoint_policy policy_table = {GRAFT_HDR(graft_checkpoint_policy), policy_plan};   \
  static const void *policy_get_interface(const graft_component *self, graft_str id) {                     \
    (void)self;                                                                                            \
    return policy_interface(&policy_table, id);                                                            \
  }                                                                                                        \
  static const graft_component policy_component = {GRAFT_HDR(graft_component),                             \
                                                   GRAFT_STR(GRAFT_KIND_CHECKPOINT_POLICY),                \
                                                   GRAFT_STR(policy_name),                                 \
                                                   GRAFT_STR("1.0.0"),                                     \
                                                   GRAFT_STR(policy_summary),                              \
                                                   GRAFT_STR(policy_schema),                               \
                                                   GRAFT_THREAD_PER_INSTANCE,                              \
                                                   0,                                                      \
                                                   create_slot,                                            \
                                                   destroy_slot,                                           \
                                                   policy_get_interface};                                  \
  static const graft_component *const policy_components[] = {&policy_component};                           \
  static const graft_library policy_library = {GRAFT_HDR(graft_library), policy_components, 1};            \
  static graft_status policy_init(const graft_host *host, const graft_library **out, graft_error *error) { \
    (void)host;                                                                                            \
    (void)error;                                                                                           \
    *out = &policy_library;                                                                                \
    return GRAFT_OK;                                                                                       \
  }                                                                                                        \
  const graft_manifest *graft_plugin_manifest_v1(void) {                                                   \
    static const graft_manifest manifest = {                                                               \
        GRAFT_MAGIC,         GRAFT_HDR(graft_manifest), GRAFT_ABI_MAJOR,    GRAFT_ABI_MINOR, 0,            \
        GRAFT_TIER_PORTABLE, GRAFT_STR(policy_name),    GRAFT_STR("1.0.0"), {NULL, 0},       policy_init}; \
    return &manifest;                                                                                      \
  }                                                                                                        \
  typedef int policy_needs_a_semicolon

#endif
