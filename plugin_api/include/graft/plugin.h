// SPDX-License-Identifier: Apache-2.0
/* graft/plugin.h: what a shared library exports.
 *
 * A plugin exports one symbol, the function graft_plugin_manifest_v1. It is pure: it returns constant data and runs
 * nothing. The host checks that data before it calls any other code of the library.
 */
#ifndef GRAFT_PLUGIN_H
#define GRAFT_PLUGIN_H

#include <graft/abi.h>
#include <graft/host.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of components, and the interface each one must offer (get_interface). */
#define GRAFT_KIND_MODEL_FAMILY "model_family"           /* graft.model_family/1, model_family.h */
#define GRAFT_KIND_PEFT "peft"                           /* graft.peft/1, peft.h */
#define GRAFT_KIND_CHECKPOINT_POLICY "checkpoint_policy" /* graft.checkpoint_policy/1, checkpoint_policy.h */
#define GRAFT_KIND_REWARD "reward"                       /* graft.reward/1, reward.h */

/* graft_component.thread_class: how the host may call [worker] slots. */
#define GRAFT_THREAD_PER_INSTANCE 0u /* one call per instance at a time */
#define GRAFT_THREAD_CONCURRENT 1u   /* any number of calls on one instance */
#define GRAFT_THREAD_SERIAL 2u       /* one call per library at a time */

/* graft_manifest.tier */
#define GRAFT_TIER_PORTABLE \
  1u /* links nothing of LibTorch; works with every host of this ABI major version */
#define GRAFT_TIER_NATIVE \
  2u /* links LibTorch; needs a host with an equal build fingerprint, and the user's consent */

/* One thing that a user can name in a configuration. Constant, lives as long as the process. */
typedef struct graft_component {
  graft_hdr hdr;
  graft_str kind;    /* GRAFT_KIND_* */
  graft_str name;    /* [a-z0-9_.-]+, unique within its kind: what a configuration says */
  graft_str version; /* semantic version of the component */
  graft_str summary; /* one line for `graft plugins list` */
  /* JSON Schema of the parameters: an object with properties, each with type, default, description, and where it fits
   * enum, minimum, maximum, exclusiveMinimum, items. The host validates, fills in defaults, refuses unknown keys and
   * prints help, so create() always receives every property. Empty means "no parameters". */
  graft_str params_schema;
  uint32_t thread_class; /* GRAFT_THREAD_* */
  uint32_t reserved;     /* 0 */
  /* [control] Makes an instance. `params_json` is the resolved object: sorted keys, no comments. `host` lives as long as
   * the process. */
  graft_status (*create)(const struct graft_component *self, const graft_host *host, graft_str params_json,
                         graft_instance **out, graft_error *error);
  /* [control] Called once for each created instance, after the last call and after the last autograd node that refers
   * to it is gone. */
  void (*destroy)(graft_instance *instance);
  /* [any] The vtable of an interface id such as "graft.reward/1", or NULL for an id that the component does not know. */
  const void *(*get_interface)(const struct graft_component *self, graft_str id);
} graft_component;

/* What init returns. Constant, lives as long as the process. */
typedef struct graft_library {
  graft_hdr hdr;
  const graft_component *const *components;
  uint64_t n_components;
} graft_library;

typedef struct graft_manifest {
  uint64_t magic; /* GRAFT_MAGIC */
  graft_hdr hdr;
  uint32_t abi_major;     /* GRAFT_ABI_MAJOR the library was built with; must equal the host's */
  uint32_t abi_minor;     /* GRAFT_ABI_MINOR the library was built with */
  uint32_t abi_minor_min; /* smallest host minor version it works with */
  uint32_t tier;          /* GRAFT_TIER_* */
  graft_str name;         /* of the library, for messages */
  graft_str version;
  graft_str fingerprint; /* native tier: the host's build fingerprint; else empty */
  /* [control] Called once per process, after all checks above passed. */
  graft_status (*init)(const graft_host *host, const graft_library **out, graft_error *error);
} graft_manifest;

#define GRAFT_ENTRY_SYMBOL "graft_plugin_manifest_v1"
typedef const graft_manifest *(*graft_plugin_manifest_fn)(void);
/* [any] Pure. */
GRAFT_EXPORT const graft_manifest *graft_plugin_manifest_v1(void);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
