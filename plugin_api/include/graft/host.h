// SPDX-License-Identifier: Apache-2.0
/* graft/host.h: what the host offers to a plugin: logging, cancellation, and services by id. */
#ifndef GRAFT_HOST_H
#define GRAFT_HOST_H

#include <graft/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_LOG_DEBUG 0
#define GRAFT_LOG_INFO 1
#define GRAFT_LOG_WARN 2
#define GRAFT_LOG_ERROR 3

typedef struct graft_host {
  graft_hdr hdr;
  uint32_t abi_major;
  uint32_t abi_minor;
  void *context;
  graft_str name;    /* of the program, such as "graft" */
  graft_str version; /* of the program */
  /* [any] The table of a service id, such as GRAFT_SERVICE_OPS, or NULL if this host does not offer it. The table lives as
   * long as the process. Hosts that only score rewards offer no tensor services. */
  const void *(*get_service)(const struct graft_host *host, graft_str id);
  /* [any] Writes one line to the host's log. */
  void (*log)(const struct graft_host *host, int32_t level, graft_str message);
  /* [any] 1 if the run is being stopped: a long call should return GRAFT_E_CANCELLED soon. */
  int32_t (*is_cancelled)(const struct graft_host *host);
} graft_host;

/* Random numbers that depend on nothing but the run's seed and the keys given, so that a run does not change with
 * threads, batch splits or resume points. */
#define GRAFT_SERVICE_RNG "graft.rng/1"
typedef struct graft_rng {
  graft_hdr hdr;
  const graft_host *host;
  /* [any] Fills out[0..n) with uniform 64-bit numbers keyed by (run seed, stream, counter), counter upwards. `stream` is
   * any name the plugin chooses. */
  void (*bits)(const struct graft_rng *rng, graft_str stream, uint64_t counter, uint64_t *out, uint64_t n);
} graft_rng;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
