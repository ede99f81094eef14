// SPDX-License-Identifier: Apache-2.0
/* graft/tensor.h: tensors without LibTorch.
 *
 * A plugin calls any ATen operator by name through graft.ops/1; the call goes through the host's dispatcher and records
 * autograd as usual. graft.autograd/1 attaches a backward of the plugin's own. graft.tensor_data/1 reads and makes
 * tensors. Shapes, dtypes and semantics are those of the ATen operator of that name.
 */
#ifndef GRAFT_TENSOR_H
#define GRAFT_TENSOR_H

#include <graft/abi.h>
#include <graft/host.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct graft_op_ *graft_op; /* a resolved operator overload; valid as long as the process */

#define GRAFT_SERVICE_OPS "graft.ops/1"
typedef struct graft_ops {
  graft_hdr hdr;
  const graft_host *host;
  /* [any] Resolves an overload such as ("aten::add", "Tensor") or ("aten::linear", ""). Costs a lookup: do it once.
   * GRAFT_E_UNSUPPORTED if the host's ATen has no such operator. */
  graft_status (*find)(const struct graft_ops *ops, graft_str name, graft_str overload, graft_op *out,
                       graft_error *error);
  /* [any] Calls `op` with n_in arguments in the order of its schema (keyword-only ones too); arguments left out at the end
   * take the schema's defaults. Writes n_out results; the schema's results beyond n_out are dropped. A result is
   * GRAFT_TENSOR, GRAFT_INT, GRAFT_FLOAT, GRAFT_BOOLEAN or, for an undefined tensor, GRAFT_NONE; a Tensor[] result
   * is written as its elements, in order, so that n_out counts them. The receiver owns result tensors. */
  graft_status (*call)(const struct graft_ops *ops, graft_op op, const graft_value *in, uint32_t n_in,
                       graft_value *out, uint32_t n_out, graft_error *error);
  /* [any] One more, or one less, owner of a tensor. NULL is allowed. */
  void (*retain)(const struct graft_ops *ops, graft_tensor tensor);
  void (*release)(const struct graft_ops *ops, graft_tensor tensor);
} graft_ops;

#define GRAFT_SERVICE_TENSOR_DATA "graft.tensor_data/1"
typedef struct graft_tensor_info {
  graft_hdr hdr;
  const int64_t *sizes;   /* [rank], elements; valid while the tensor lives and is not resized */
  const int64_t *strides; /* [rank], elements */
  void *data;             /* first element; device memory unless device is GRAFT_DEVICE_CPU */
  uint32_t rank;
  int32_t dtype;
  int32_t device;
  int32_t device_index;
  int32_t requires_grad; /* 0 or 1 */
  int32_t is_contiguous; /* 0 or 1 */
} graft_tensor_info;

typedef struct graft_tensor_data {
  graft_hdr hdr;
  const graft_host *host;
  /* [any] Fills *out up to out->hdr.struct_size bytes, which the caller has set. */
  graft_status (*describe)(const struct graft_tensor_data *service, graft_tensor tensor,
                           graft_tensor_info *out, graft_error *error);
  /* [any] Makes a contiguous CPU tensor of `sizes` and copies `data` into it (row-major); with data NULL the elements are
   * zero. */
  graft_status (*create)(const struct graft_tensor_data *service, int32_t dtype, const int64_t *sizes,
                         uint32_t rank, const void *data, graft_tensor *out, graft_error *error);
} graft_tensor_data;

/* A backward of the plugin's own. The host calls drop exactly once, on any thread, when the node is gone. */
typedef struct graft_backward {
  graft_hdr hdr;
  void *user;
  /* [engine] saved: the tensors given to attach, borrowed. grad_out[i] may be NULL (zero). Writes grad_in[i] for each
   * differentiable input, NULL for none; the host owns what was written. Grad mode is off unless the host is building a
   * graph of the backward. */
  graft_status (*backward)(void *user, const graft_tensor *saved, uint32_t n_saved,
                           const graft_tensor *grad_out, uint32_t n_out, graft_tensor *grad_in, uint32_t n_in,
                           graft_error *error);
  void (*drop)(void *user);
} graft_backward;

#define GRAFT_SERVICE_AUTOGRAD "graft.autograd/1"
typedef struct graft_autograd {
  graft_hdr hdr;
  const graft_host *host;
  /* [worker] Makes `outputs` (computed with grad mode off, no graph of their own) the results of a node with inputs
   * `inputs` and saved tensors `saved`. The host copies *backward. Each outputs[i] is replaced by a tensor that carries the
   * node; the old handle is consumed. If no input requires a gradient or grad mode is off, the outputs stay as they are
   * and drop is called at once. On failure nothing is consumed and drop is not called. */
  graft_status (*attach)(const struct graft_autograd *autograd, const graft_tensor *inputs, uint32_t n_in,
                         const graft_tensor *saved, uint32_t n_saved, graft_tensor *outputs, uint32_t n_out,
                         const graft_backward *backward, graft_error *error);
  /* [any] Sets this thread's grad mode and returns the old one (0 or 1). The host restores it when the slot returns. */
  int32_t (*set_grad_mode)(const struct graft_autograd *autograd, int32_t enabled);
} graft_autograd;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
