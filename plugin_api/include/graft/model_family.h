// SPDX-License-Identifier: Apache-2.0
/* graft/model_family.h: the kind "model_family": how a published checkpoint is read, prompted and run forward.
 *
 * A family declares its parameters, linear sites and segments, and writes its forward pass against graft_exec, a table that
 * the host fills in. It never meets a PEFT strategy, a checkpoint policy, a KV cache or prompt sharing.
 *
 * Tokens are flat: hidden states are [T, D] with no batch dimension and no padding. Only graft_exec.attention knows
 * which tokens form a sequence.
 */
#ifndef GRAFT_MODEL_FAMILY_H
#define GRAFT_MODEL_FAMILY_H

#include <graft/abi.h>
#include <graft/checkpoint_policy.h> /* GRAFT_COMPONENT_* */
#include <graft/host.h>
#include <graft/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_INTERFACE_MODEL_FAMILY "graft.model_family/1"

/* ---- declarations: valid until the instance is destroyed --------------------------------------------------------- */

#define GRAFT_PARAM_TIED 1u /* not stored by itself: the same tensor as `tied_to` */

#define GRAFT_RANDOM_NORMAL 0
#define GRAFT_RANDOM_ONES 1
#define GRAFT_RANDOM_ZEROS 2

typedef struct graft_param_decl {
  graft_hdr hdr;
  graft_str name;           /* canonical module path, "model.language_model.layers.0.mlp.up_proj.weight" */
  const graft_str *aliases; /* other names under which published files store it, tried in order */
  uint32_t n_aliases;
  uint32_t properties; /* GRAFT_PARAM_* */
  const int64_t *sizes;
  uint32_t rank;
  int32_t component;   /* GRAFT_COMPONENT_* */
  int32_t tied_to;     /* index of another parameter if GRAFT_PARAM_TIED, else -1 */
  int32_t random_init; /* GRAFT_RANDOM_*: how model.init=random fills it */
  double random_std;   /* of GRAFT_RANDOM_NORMAL; usually initializer_range of config.json */
} graft_param_decl;

typedef struct graft_site_decl {
  graft_hdr hdr;
  graft_str name;    /* module path without ".weight" */
  int32_t weight;    /* parameter index, [out_features, in_features] */
  int32_t bias;      /* parameter index, -1 for none */
  int32_t component; /* GRAFT_COMPONENT_* */
  int32_t reserved;
} graft_site_decl;

/* Costs are linear in tokens, attention scores aside: enough to compare segments. */
typedef struct graft_segment_decl {
  graft_hdr hdr;
  graft_str name;                       /* "language.layers.3", "language.layers.3.attn", "vision.blocks.0" */
  int32_t parent;                       /* index of the enclosing segment, declared before; -1 at the top */
  int32_t component;                    /* GRAFT_COMPONENT_* */
  uint64_t activation_values_per_token; /* elements kept for backward, children included */
  uint64_t input_values_per_token;      /* elements of the segment's inputs */
  uint64_t flops_per_token;
} graft_segment_decl;

typedef struct graft_family_desc {
  graft_hdr hdr;
  const graft_param_decl *const *params;
  const graft_site_decl *const *sites;
  const graft_segment_decl *const *segments;
  uint32_t n_params;
  uint32_t n_sites;
  uint32_t n_segments;
  int32_t head_site;  /* the site that turns hidden states into logits */
  int64_t vocab_size; /* rows of the head */
  int64_t hidden_size;
  uint32_t n_attention_layers;    /* of the decoder: `layer` of graft_exec.attention lies below it */
  uint32_t position_rank;         /* rows of the position ids: 1, or 3 for multimodal RoPE */
  const int64_t *image_token_ids; /* ids that stand for image features: never sampled */
  uint32_t n_image_token_ids;
  int32_t grounding_space; /* GRAFT_SPACE_*: how this family writes boxes by itself */
  graft_str
      grounding_format; /* a sentence and an example of that format, for contract checks; may be empty */
  int64_t
      image_value_size; /* columns of what encode_images gives; 0: hidden_size. More if decode() also feeds image features
                             * to deeper layers */
} graft_family_desc;

/* The texts of a Hugging Face directory. Absent files are empty. */
typedef struct graft_family_files {
  graft_hdr hdr;
  graft_str directory; /* for messages only */
  graft_str config_json;
  graft_str preprocessor_config_json;
  graft_str generation_config_json;
  graft_str tokenizer_config_json;
  graft_str chat_template;
  /* Resolves the text of one special token to its id, -1 if the tokenizer has none. Valid during open(). */
  void *context;
  int64_t (*token_id)(void *context, graft_str text);
} graft_family_files;

/* ---- prompts ------------------------------------------------------------------------------------------------------ */

/* Decoded image: RGB, 8 bits, rows from top to bottom, no padding. */
typedef struct graft_image {
  graft_hdr hdr;
  const uint8_t *rgb; /* [height, width, 3] */
  int64_t width;
  int64_t height;
  graft_str name; /* of the file, for messages */
} graft_image;

/* An image as the vision encoder takes it. */
typedef struct graft_pixels {
  graft_hdr hdr;
  graft_tensor
      values;       /* float32; the leading dimension counts patches. Owned by the receiver of preprocess() */
  int64_t grid[3];  /* frames, patch rows, patch columns (family-specific use) */
  int64_t n_tokens; /* prompt tokens that the image takes */
  int64_t processed_width; /* pixels after resize */
  int64_t processed_height;
} graft_pixels;

/* ---- execution: filled in by the host ------------------------------------------------------------------------------ */

/* Which tokens attend to which. */
#define GRAFT_ATTEND_SEQUENCE 0 /* the decoder's sequences, which only the host knows; causal */
#define GRAFT_ATTEND_BLOCKS 1   /* within consecutive blocks, in both directions */

typedef struct graft_attention {
  graft_hdr hdr;
  graft_tensor q; /* [T, n_heads, head_dim] */
  graft_tensor k; /* [T, n_kv_heads, head_dim]; n_heads is a multiple of n_kv_heads */
  graft_tensor v; /* [T, n_kv_heads, head_dim] */
  double scale;   /* of the scores, usually head_dim^-0.5 */
  int32_t mode;   /* GRAFT_ATTEND_* */
  int32_t layer;  /* of the decoder; unused for blocks */
  const int64_t
      *block_ends; /* GRAFT_ATTEND_BLOCKS: [n_blocks] end offsets, ascending, the last one is T; copied */
  uint64_t n_blocks;
} graft_attention;

struct graft_exec;

/* The body of a segment: computes `out` from `in` and nothing else but parameters; may run a second time, on an autograd
 * thread, after the forward pass returned. `tag` is what the caller of segment() gave. [worker][engine] */
typedef graft_status (*graft_segment_body)(graft_instance *instance, const struct graft_exec *exec,
                                           uint64_t tag, const graft_tensor *in, uint32_t n_in,
                                           graft_tensor *out, uint32_t n_out, graft_error *error);

/* Valid during the call that received it. All slots [worker][engine]; results belong to the caller.
 * In mixed precision the host runs what receives a graft_exec under autocast: products of float32 operands give bfloat16, as in
 * Python under torch.autocast, and attention takes q, k and v of any dtype. So a family takes dtypes from its tensors. */
typedef struct graft_exec {
  graft_hdr hdr;
  void *context;
  /* A base parameter, in the dtype to compute with. Borrowed: not to be released. */
  graft_status (*param)(const struct graft_exec *exec, uint32_t index, graft_tensor *borrowed,
                        graft_error *error);
  /* y = the linear layer of `site` applied to x [T, in_features], with whatever the PEFT strategy adds. */
  graft_status (*linear)(const struct graft_exec *exec, uint32_t site, graft_tensor x, graft_tensor *y,
                         graft_error *error);
  /* Runs `body` as the segment `index` of the declarations. */
  graft_status (*segment)(const struct graft_exec *exec, uint32_t index, graft_segment_body body,
                          uint64_t tag, const graft_tensor *in, uint32_t n_in, graft_tensor *out,
                          uint32_t n_out, graft_error *error);
  /* *out [T, n_heads, head_dim] */
  graft_status (*attention)(const struct graft_exec *exec, const graft_attention *args, graft_tensor *out,
                            graft_error *error);
} graft_exec;

typedef struct graft_decode {
  graft_hdr hdr;
  graft_tensor ids;          /* int64 [T] */
  graft_tensor positions;    /* int64 [position_rank, T] */
  graft_tensor image_values; /* [N, image_value_size] from encode_images, NULL if there are none */
  graft_tensor image_rows;   /* int64 [N]: which of the T tokens they replace; NULL likewise */
} graft_decode;

typedef struct graft_model_family {
  graft_hdr hdr;
  /* [any] Without an instance: 1 if this family reads a checkpoint with this config.json, else 0. */
  int32_t (*probe)(graft_str config_json);
  /* [control] Reads the configuration; called once, before everything below. */
  graft_status (*open)(graft_instance *instance, const graft_family_files *files, graft_error *error);
  /* [control] */
  graft_status (*describe)(graft_instance *instance, const graft_family_desc **out, graft_error *error);
  /* [worker] The chat template: `messages_json` is a list of {"role", "content"}, where content is a string or a list of
   * {"type": "text", "text": …} and {"type": "image"}. Writes the prompt's text with one placeholder an image. */
  graft_status (*render)(graft_instance *instance, graft_str messages_json, int32_t add_generation_prompt,
                         const graft_sink *text, graft_error *error);
  /* [worker] Resizes, normalises and cuts one image. *out has its header set by the caller. */
  graft_status (*preprocess)(graft_instance *instance, const graft_image *image, graft_pixels *out,
                             graft_error *error);
  /* [worker] Replaces each image placeholder among ids[0..n) by as many image tokens as that image takes, and writes the
   * int64 ids to the sink as bytes. Fails if placeholders and images differ in number. */
  graft_status (*expand)(graft_instance *instance, const int64_t *ids, uint64_t n,
                         const graft_pixels *const *images, uint32_t n_images, const graft_sink *expanded,
                         graft_error *error);
  /* [worker] Position ids of a prompt of n expanded ids: positions [position_rank, n], and *next, the position of the
   * first token after it (all rows alike, one more for each further token). */
  graft_status (*positions)(graft_instance *instance, const int64_t *ids, uint64_t n,
                            const graft_pixels *const *images, uint32_t n_images, int64_t *positions,
                            int64_t *next, graft_error *error);
  /* [worker] Vision encoder and projector over all images, one after the other: *out [sum of n_tokens, image_value_size]. */
  graft_status (*encode_images)(graft_instance *instance, const graft_exec *exec,
                                const graft_pixels *const *images, uint32_t n_images, graft_tensor *out,
                                graft_error *error);
  /* [worker] Embedding, decoder blocks and final norm: *hidden [T, hidden_size], ready for the head. */
  graft_status (*decode)(graft_instance *instance, const graft_exec *exec, const graft_decode *args,
                         graft_tensor *hidden, graft_error *error);
} graft_model_family;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
