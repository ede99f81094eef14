// SPDX-License-Identifier: Apache-2.0
/* graft/abi.h: the primitive types that cross between the host and a plugin.
 *
 * C99 and C++11. Only fixed-width integers, double, pointers and the frozen structs below cross; never an enum, bool,
 * size_t, long, bit-field, C++ type or variable argument list. Text is UTF-8. All structs are free of padding.
 *
 * Conventions, valid for every header of this folder:
 *   Growth     A growable struct begins with graft_hdr. Fields are only ever appended. A reader uses a field after
 *              checking GRAFT_HAS: it accepts "at least this prefix", never an equal size. Arrays of growable structs
 *              are arrays of pointers.
 *   Errors     A function returns graft_status: 0 for success, negative otherwise, and then has written the reason into
 *              the caller's graft_error (which may be NULL) and has left all outputs untouched. Exceptions never cross.
 *   Ownership  Arguments are borrowed for the call. Tensors written to an output belong to the receiver, who releases
 *              each one once. Structs, strings and arrays that a plugin returns stay valid until its instance is
 *              destroyed, unless the slot says otherwise. Nobody frees what the other side allocated.
 *   Threads    Each slot carries a tag. [control]: the host's control thread, no other call on this library meanwhile.
 *              [worker]: any host thread, at most one call per instance at a time unless the component says more.
 *              [engine]: a thread of the autograd engine, possibly another one than ran the forward.
 *              [any]: any thread, concurrently.
 *   Lifetime   A library is never unloaded: autograd graphs outlive every handle.
 */
#ifndef GRAFT_ABI_H
#define GRAFT_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_MAGIC UINT64_C(0x47524146545F3031) /* "GRAFT_01" */
#define GRAFT_ABI_MAJOR 1u                       /* changes with the layout; so does the entry symbol */
#define GRAFT_ABI_MINOR 0u /* append-only growth; 1.0 is a draft until it is declared frozen */

#if defined(_WIN32)
#define GRAFT_EXPORT __declspec(dllexport)
#else
#define GRAFT_EXPORT __attribute__((visibility("default")))
#endif

/* First member of every growable struct: how many bytes the writer filled. flags: none defined, must be 0. */
typedef struct graft_hdr {
  uint32_t struct_size;
  uint32_t flags;
} graft_hdr;

/* Is `member` of the growable struct `ptr` (of type `type`) present, and set? */
#define GRAFT_HAS(ptr, type, member)                                                          \
  ((ptr) != NULL &&                                                                           \
   (ptr)->hdr.struct_size >= offsetof(type, member) + sizeof(((const type *)NULL)->member) && \
   (ptr)->member != 0)

/* Initialiser of the header of a struct of type `type`. */
#define GRAFT_HDR(type) \
  { (uint32_t)sizeof(type), 0u }

/* ---- frozen value types: they never grow ------------------------------------------------------------------------ */

/* Borrowed text: not terminated, may contain NUL, ptr may be NULL if len is 0. */
typedef struct graft_str {
  const char *ptr;
  uint64_t len;
} graft_str;

/* graft_str of a string literal, usable in static initialisers. */
#define GRAFT_STR(literal) \
  { (literal), sizeof(literal) - 1 }

typedef int32_t graft_status;
#define GRAFT_OK 0
#define GRAFT_E_INVALID_ARGUMENT (-1) /* the caller's data is wrong; the message says what was expected */
#define GRAFT_E_UNSUPPORTED (-2)      /* right, but not offered here */
#define GRAFT_E_OUT_OF_MEMORY (-3)
#define GRAFT_E_CANCELLED (-4) /* the host asked to stop */
#define GRAFT_E_INTERNAL (-5)  /* a defect of the callee; unknown codes count as this one */

/* The caller provides `text` of `capacity` bytes; the callee writes a message, cut to capacity - 1 and terminated,
 * and sets `length` to what it wrote (without the terminator). */
typedef struct graft_error {
  char *text;
  uint32_t capacity;
  uint32_t length;
} graft_error;

/* Receives bytes that the callee produces; may be called several times, the pieces are joined. The sink copies. */
typedef struct graft_sink {
  void *context;
  void (*write)(void *context, graft_str piece);
} graft_sink;

typedef struct graft_tensor_ *graft_tensor; /* opaque, reference-counted by the host; see tensor.h */
typedef struct graft_instance_
    graft_instance; /* opaque, owned by the plugin: what a component's create made */

/* ---- dtypes and devices ------------------------------------------------------------------------------------------ */

#define GRAFT_DTYPE_DEFAULT 0 /* what the host would choose: float32 for trained parameters */
#define GRAFT_FLOAT32 1
#define GRAFT_FLOAT64 2
#define GRAFT_FLOAT16 3
#define GRAFT_BFLOAT16 4
#define GRAFT_UINT8 5
#define GRAFT_INT8 6
#define GRAFT_INT16 7
#define GRAFT_INT32 8
#define GRAFT_INT64 9
#define GRAFT_BOOL 10

#define GRAFT_DEVICE_CPU 0
#define GRAFT_DEVICE_CUDA 1
#define GRAFT_DEVICE_NONE \
  2 /* a tensor of sizes without values, as `graft plan` runs passes on: its data is NULL */

/* ---- tagged values: arguments and results of operators ----------------------------------------------------------- */

#define GRAFT_NONE 0u    /* an optional argument left out */
#define GRAFT_TENSOR 1u  /* u.tensor */
#define GRAFT_INT 2u     /* u.i; also serves Scalar, SymInt, Layout and MemoryFormat arguments */
#define GRAFT_FLOAT 3u   /* u.f; also serves Scalar */
#define GRAFT_BOOLEAN 4u /* u.i, 0 or 1; also serves Scalar */
#define GRAFT_STRING 5u  /* u.str */
#define GRAFT_INTS 6u    /* u.ints, count elements */
#define GRAFT_FLOATS 7u  /* u.floats, count elements */
#define GRAFT_TENSORS \
  8u /* u.tensors, count elements; NULL stands for an absent optional tensor. Argument only */
#define GRAFT_DTYPE 9u   /* u.i, a dtype code of above */
#define GRAFT_DEVICE 10u /* u.i, a device code; count is the device index */
#define GRAFT_BOOLS 11u  /* u.ints, count elements of 0 or 1 */

typedef struct graft_value {
  uint32_t tag;
  uint32_t count;
  union {
    int64_t i;
    double f;
    graft_tensor tensor;
    graft_str str;
    const int64_t *ints;
    const double *floats;
    const graft_tensor *tensors;
    uint64_t bits[2]; /* fixes the union at 16 bytes everywhere */
  } u;
} graft_value;

/* ---- coordinate spaces of boxes, shared by model families and rewards --------------------------------------------- */

#define GRAFT_SPACE_NONE 0             /* no boxes */
#define GRAFT_SPACE_ORIGINAL_PIXELS 1  /* pixels of the image file */
#define GRAFT_SPACE_PROCESSED_PIXELS 2 /* pixels of the image after the family's resize */
#define GRAFT_SPACE_PER_MILLE 3        /* 0 to 1000 on both axes */
#define GRAFT_SPACE_UNIT 4             /* 0 to 1 on both axes */

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
