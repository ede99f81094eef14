// SPDX-License-Identifier: Apache-2.0
/* graft/peft.h: the kind "peft": a strategy that decides which parameters are trained and how each linear layer uses them.
 *
 * The host selects the sites (target modules, exclusions, components), allocates the strategy's parameters, gives them to
 * the optimizer, saves and loads them in PEFT's format, and calls linear() wherever the model family applies an adapted
 * site. A strategy therefore holds no tensors.
 */
#ifndef GRAFT_PEFT_H
#define GRAFT_PEFT_H

#include <graft/abi.h>
#include <graft/checkpoint_policy.h> /* GRAFT_COMPONENT_* */
#include <graft/host.h>
#include <graft/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_INTERFACE_PEFT "graft.peft/1"

/* A linear layer of the model, y = x Wᵀ + b. */
typedef struct graft_site {
  graft_hdr hdr;
  graft_str name; /* module path, such as "model.language_model.layers.0.self_attn.q_proj" */
  int64_t in_features;
  int64_t out_features;
  int32_t component; /* GRAFT_COMPONENT_* */
  int32_t has_bias;  /* 0 or 1 */
} graft_site;

/* A parameter of the base model. */
typedef struct graft_base_param {
  graft_hdr hdr;
  graft_str name; /* such as "model.language_model.layers.0.input_layernorm.weight" */
  const int64_t *sizes;
  uint32_t rank;
  int32_t component;   /* GRAFT_COMPONENT_* */
  int32_t site;        /* index of the site whose weight or bias it is, -1 if none */
  int32_t is_selected; /* 1 if the user's selection (target modules, components) covers it */
} graft_base_param;

/* How the host fills a new parameter; each draw is keyed by the run's seed and the parameter's full name. */
#define GRAFT_INIT_ZEROS 0
#define GRAFT_INIT_ONES 1
#define GRAFT_INIT_UNIFORM 2 /* U(-a, a) */
#define GRAFT_INIT_NORMAL 3  /* N(0, a²) */

/* A parameter that the strategy wants at a site. */
typedef struct graft_peft_param {
  graft_hdr hdr;
  graft_str name; /* as PEFT's files write it after the module path, such as "lora_A.weight" */
  const int64_t *sizes;
  uint32_t rank;
  int32_t dtype;      /* GRAFT_DTYPE_DEFAULT: the host's choice, float32 */
  int32_t init;       /* GRAFT_INIT_* */
  int32_t is_trained; /* 0: saved with the adapter but frozen */
  double init_scale;  /* a of the list above */
} graft_peft_param;

/* The base layer, callable from within linear(). The handle is valid during that call only. */
typedef struct graft_base_linear {
  graft_hdr hdr;
  void *context;
  /* [worker][engine] y = x Wᵀ + b for x of shape [..., in_features]; the receiver owns *y. */
  graft_status (*forward)(const struct graft_base_linear *base, graft_tensor x, graft_tensor *y,
                          graft_error *error);
  /* The base weight [out_features, in_features], borrowed for the call. */
  graft_status (*weight)(const struct graft_base_linear *base, graft_tensor *borrowed, graft_error *error);
} graft_base_linear;

typedef struct graft_peft_call {
  graft_hdr hdr;
  const graft_site *site;
  graft_tensor x; /* [T, in_features] */
  const graft_base_linear *base;
  const graft_tensor *params; /* in the order of plan_site, borrowed */
  uint32_t n_params;
  int32_t is_training; /* 1: dropout applies */
} graft_peft_call;

typedef struct graft_peft {
  graft_hdr hdr;
  /* [control] The parameters wanted at a selected site: *n of them (0 leaves the site alone), valid until the instance is
   * destroyed. NULL slot: none at any site. */
  graft_status (*plan_site)(graft_instance *instance, const graft_site *site,
                            const graft_peft_param *const **params, uint32_t *n, graft_error *error);
  /* [control] Writes 1 to *is_trained if this base parameter is trained itself. NULL slot: all are frozen. */
  graft_status (*plan_base_param)(graft_instance *instance, const graft_base_param *param,
                                  int32_t *is_trained, graft_error *error);
  /* [worker][engine] The layer's output *y [T, out_features] with the strategy applied, in the dtype of x or of the base
   * layer's result (under autocast they differ; float32 is fine there too). Called for sites with parameters only. At initialisation it equals the base layer's output, unless the strategy documents otherwise. */
  graft_status (*linear)(graft_instance *instance, const graft_peft_call *call, graft_tensor *y,
                         graft_error *error);
  /* [worker] The weight [out_features, in_features] of a plain linear layer that equals linear() in evaluation mode.
   * NULL slot: cannot be merged. `weight` and `params` are float32. */
  graft_status (*merge)(graft_instance *instance, const graft_site *site, graft_tensor weight,
                        const graft_tensor *params, uint32_t n_params, graft_tensor *merged,
                        graft_error *error);
  /* [control] Writes the strategy's own fields of PEFT's adapter_config.json as one JSON object, "peft_type" among them. The
   * host adds target_modules and what is common to all methods. NULL slot: no PEFT counterpart, the host writes fields of its
   * own that only it reads. A strategy that trains base parameters is saved as a whole model instead. */
  graft_status (*export_config)(graft_instance *instance, const graft_sink *json, graft_error *error);
  /* [control] Without an instance. Turns a given adapter_config.json into this component's parameters (a JSON object), or
   * fails with GRAFT_E_UNSUPPORTED if the file is of another method or uses an option that is not offered. */
  graft_status (*import_config)(graft_str adapter_config_json, const graft_sink *params_json,
                                graft_error *error);
} graft_peft;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
