// SPDX-License-Identifier: Apache-2.0
/* graft/checkpoint_policy.h: the kind "checkpoint_policy": which activations of the forward pass are kept for backward and
 * which are computed again. A policy decides; the mechanism is the host's. No tensors cross. */
#ifndef GRAFT_CHECKPOINT_POLICY_H
#define GRAFT_CHECKPOINT_POLICY_H

#include <graft/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_INTERFACE_CHECKPOINT_POLICY "graft.checkpoint_policy/1"

/* Parts of a model; shared by segments, sites and parameters. */
#define GRAFT_COMPONENT_LANGUAGE 1  /* decoder blocks, token embedding, final norm */
#define GRAFT_COMPONENT_VISION 2    /* vision encoder */
#define GRAFT_COMPONENT_PROJECTOR 3 /* from vision features to the decoder's width */
#define GRAFT_COMPONENT_HEAD 4      /* output projection */

/* A piece of the forward pass. Segments nest: a parent is declared before its children. Blocks that have attention and a
 * feed-forward part as segments of their own end their names in ".attn" and ".mlp". */
typedef struct graft_segment_info {
  graft_hdr hdr;
  graft_str name;            /* such as "language.layers.3" or "language.layers.3.attn" */
  int32_t parent;            /* index of the enclosing segment, -1 at the top */
  int32_t component;         /* GRAFT_COMPONENT_* */
  uint64_t activation_bytes; /* kept for backward if the segment is not recomputed, its children included */
  uint64_t input_bytes;      /* kept if it is */
  uint64_t forward_flops;    /* one more forward, if it is */
} graft_segment_info;

#define GRAFT_SEGMENT_KEEP 0      /* keep all activations */
#define GRAFT_SEGMENT_RECOMPUTE 1 /* keep the inputs, run the segment again in backward */
#define GRAFT_SEGMENT_OFFLOAD \
  2 /* move the activations out of the device's memory until backward: of a GPU to the host's, of the CPU to a file */

typedef struct graft_checkpoint_policy {
  graft_hdr hdr;
  /* [control] Writes decisions[i], GRAFT_SEGMENT_*, for each of the n segments: those that keep anything and that this policy is
   * to decide about (one component has perhaps another). budget_bytes is the memory that activations
   * may take, 0 if the user set no limit. A decision within a recomputed segment applies during its recomputation. */
  graft_status (*plan)(graft_instance *instance, const graft_segment_info *const *segments, uint64_t n,
                       uint64_t budget_bytes, int32_t *decisions, graft_error *error);
} graft_checkpoint_policy;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
