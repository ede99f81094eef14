// SPDX-License-Identifier: Apache-2.0
/* graft/peft.h: the kind "peft": a strategy that decides which parameters are trained and how each linear layer uses them.
 *
 * The host selects the sites (target modules, exclusions, components), allocates the strategy's parameters, gives them to
 * the optimizer, saves and loads them in PEFT's format, and calls linear() wherever the model family applies an adapted
 * site. A strategy therefore holds no tensors, but for what it keeps from a calibration until initialize(). What it has to
 * remember between steps is a parameter that is neither trained nor saved with the adapter; checkpoints keep it.
 *
 * Order of calls: for a fresh adapter calibrate, and if that asks for it observe for each site and allot, once in each pass;
 * plan_model, plan_site for each site, plan_base, initialize; then linear any number of times, and in each optimizer step
 * regularize (before backward), before_update and after_update.
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
  int64_t rank;      /* of the user's rank_pattern, to be used instead of the strategy's r; 0: none */
  double alpha;      /* of the user's alpha_pattern, likewise; 0: none */
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

#define GRAFT_PEFT_PARAM_FROZEN 1u  /* gets no gradient: derived from the base, or the strategy's memory */
#define GRAFT_PEFT_PARAM_UNSAVED 2u /* not part of the adapter's file; in a run's checkpoints all the same */

/* A parameter that the strategy wants at a site, or once for the whole model. */
typedef struct graft_peft_param {
  graft_hdr hdr;
  graft_str name; /* as PEFT's files write it after the module path, such as "lora_A.weight" */
  const int64_t *sizes;
  uint32_t rank;
  int32_t dtype;              /* GRAFT_DTYPE_DEFAULT: the host's choice, float32 */
  int32_t init;               /* GRAFT_INIT_* */
  uint32_t properties;        /* GRAFT_PEFT_PARAM_* */
  double init_scale;          /* a of the list above */
  double learning_rate_scale; /* the optimizer's learning rate is multiplied by it; 0 stands for 1 */
} graft_peft_param;

/* An adapted site with its tensors, all borrowed for the call. */
typedef struct graft_peft_values {
  graft_hdr hdr;
  const graft_site *site;
  graft_tensor weight; /* of the base layer, [out_features, in_features]; NULL where it is not needed: in
                               * regularize, before_update, after_update, export_config and import_tensors */
  graft_tensor bias;   /* [out_features], NULL if it has none */
  const graft_tensor *params; /* in the order of plan_site */
  const graft_tensor
      *grads; /* of params, each NULL if it has none; NULL outside of before_update and after_update */
  const graft_tensor *shared; /* in the order of plan_model */
  uint32_t n_params;
  uint32_t n_shared;
} graft_peft_values;

/* All adapted sites. */
typedef struct graft_peft_model {
  graft_hdr hdr;
  const graft_peft_values *const *sites;
  const graft_tensor *shared;       /* in the order of plan_model */
  const graft_tensor *shared_grads; /* as grads above */
  uint32_t n_sites;
  uint32_t n_shared;
  int64_t step;        /* optimizer steps done before this one; 0 outside of training */
  int64_t total_steps; /* of the run; 0 if unknown */
} graft_peft_model;

/* Where export_tensors() writes. `name` as in graft_peft_param; the tensor stays the caller's. */
typedef struct graft_tensor_sink {
  void *context;
  graft_status (*write)(void *context, graft_str name, graft_tensor tensor, graft_error *error);
} graft_tensor_sink;

/* The base layer, callable from within linear(). The handle is valid during that call only. */
typedef struct graft_base_linear {
  graft_hdr hdr;
  void *context;
  /* [worker][engine] y = x Wᵀ + b for x of shape [..., in_features]; the receiver owns *y. */
  graft_status (*forward)(const struct graft_base_linear *base, graft_tensor x, graft_tensor *y,
                          graft_error *error);
  /* The base weight [out_features, in_features], borrowed for the call. */
  graft_status (*weight)(const struct graft_base_linear *base, graft_tensor *borrowed, graft_error *error);
  /* The base bias [out_features], borrowed for the call; NULL if the layer has none. */
  graft_status (*bias)(const struct graft_base_linear *base, graft_tensor *borrowed, graft_error *error);
} graft_base_linear;

typedef struct graft_peft_call {
  graft_hdr hdr;
  const graft_site *site;
  graft_tensor x; /* [T, in_features] */
  const graft_base_linear *base;
  const graft_tensor *params; /* in the order of plan_site, borrowed */
  const graft_tensor *shared; /* in the order of plan_model, borrowed */
  uint32_t n_params;
  uint32_t n_shared;
  int32_t is_training; /* 1: dropout applies */
  int32_t reserved;
} graft_peft_call;

/* What a selected site was given in one pass of a calibration. */
typedef struct graft_peft_observation {
  graft_hdr hdr;
  const graft_site *site;
  uint32_t index; /* of the site among those given to calibrate() */
  int32_t reserved;
  int64_t pass; /* from 0 */
  /* [T, in_features], of all samples of the pass, as linear() will get it but without a graph. Borrowed; may be retained. */
  graft_tensor x;
  /* [A] int64, ascending: the rows of x that belong to tokens of answers to be learnt. Borrowed. NULL where there are none:
   * prompts without answers, and sites of the vision encoder. */
  graft_tensor answer_rows;
} graft_peft_observation;

/* What a calibration makes of a selected site. Zeroed: as the user said. */
typedef struct graft_peft_allotment {
  graft_hdr hdr;
  int64_t rank;       /* takes the place of graft_site.rank if above 0 */
  double alpha;       /* takes the place of graft_site.alpha if above 0 */
  int32_t is_dropped; /* 1: the site is not adapted */
  int32_t reserved;
} graft_peft_allotment;

#define GRAFT_PEFT_TAKES_RANK 1u  /* graft_site.rank is used; else a user's rank_pattern is an error */
#define GRAFT_PEFT_TAKES_ALPHA 2u /* graft_site.alpha likewise */
#define GRAFT_PEFT_NO_EXCLUSION \
  4u /* PEFT's file of this method has no exclude_modules: target_modules says it all */

/* Slots may be NULL where a default is given; plan_site or plan_base there must be, and linear with plan_site. */
typedef struct graft_peft {
  graft_hdr hdr;
  uint64_t properties; /* GRAFT_PEFT_TAKES_*, GRAFT_PEFT_NO_EXCLUSION */
  /* [control] The parameters wanted once for the whole model, given all selected sites: *n of them, valid until the
   * instance is destroyed. Their names in PEFT's files follow "base_model.". NULL slot: none. */
  graft_status (*plan_model)(graft_instance *instance, const graft_site *const *sites, uint32_t n_sites,
                             const graft_peft_param *const **params, uint32_t *n, graft_error *error);
  /* [control] The parameters wanted at a selected site: *n of them (0 leaves the site alone), valid until the instance is
   * destroyed. GRAFT_E_INVALID_ARGUMENT if the strategy's parameters do not fit that layer. NULL slot: none at any site. */
  graft_status (*plan_site)(graft_instance *instance, const graft_site *site,
                            const graft_peft_param *const **params, uint32_t *n, graft_error *error);
  /* [control] Given all n base parameters, writes to trained[i] 1 if the i-th is trained itself, else 0. With plan_site as
   * well, the host trains copies that belong to the adapter. GRAFT_E_INVALID_ARGUMENT: the user's parameters do not fit this
   * model. NULL slot: all are frozen. */
  graft_status (*plan_base)(graft_instance *instance, const graft_base_param *const *params, uint32_t n,
                            int32_t *trained, graft_error *error);
  /* [control] Called once, without gradients, after the host has filled all parameters as planned: writes in place what must
   * be computed, from the base weights for example. A saved adapter is read afterwards. NULL slot: nothing. */
  graft_status (*initialize)(graft_instance *instance, const graft_peft_model *model, graft_error *error);
  /* [worker][engine] The layer's output *y [T, out_features] with the strategy applied, in the dtype of x or of the base
   * layer's result (under autocast they differ; float32 is fine there too). Called for sites with parameters only. At
   * initialisation it equals the base layer's output, unless the strategy documents otherwise. */
  graft_status (*linear)(graft_instance *instance, const graft_peft_call *call, graft_tensor *y,
                         graft_error *error);
  /* [worker] The plain linear layer that equals linear() in evaluation mode: its *weight [out_features, in_features] and, if
   * that changes too, its *bias (NULL: as it was). All tensors are float32. NULL slot: cannot be merged. */
  graft_status (*merge)(graft_instance *instance, const graft_peft_values *values, graft_tensor *weight,
                        graft_tensor *bias, graft_error *error);
  /* [control] A scalar that is added to the loss once in each optimizer step, with its graph; *loss may stay NULL. NULL slot:
   * none. */
  graft_status (*regularize)(graft_instance *instance, const graft_peft_model *model, graft_tensor *loss,
                             graft_error *error);
  /* [control] Without gradients, after clipping and before the optimizer changes anything: may change gradients in place. */
  graft_status (*before_update)(graft_instance *instance, const graft_peft_model *model, graft_error *error);
  /* [control] Without gradients, after the optimizer's step while the gradients are still there: may change parameters in
   * place. */
  graft_status (*after_update)(graft_instance *instance, const graft_peft_model *model, graft_error *error);
  /* [control] Writes the strategy's own fields of PEFT's adapter_config.json as one JSON object, "peft_type" among them. The
   * host adds target_modules and what is common to all methods, also rank_pattern and alpha_pattern but for entries "^name" of
   * sites that are there (names with \. for a dot). NULL slot: no PEFT
   * counterpart, the host writes fields of its own that only it reads. A strategy that trains base parameters alone is saved
   * as a whole model instead. */
  graft_status (*export_config)(graft_instance *instance, const graft_peft_model *model,
                                const graft_sink *json, graft_error *error);
  /* [control] Writes the tensors of one site that PEFT's file holds. NULL slot: the parameters that are not
   * GRAFT_PEFT_PARAM_UNSAVED, as they are. */
  graft_status (*export_tensors)(graft_instance *instance, const graft_peft_values *values,
                                 const graft_tensor_sink *tensors, graft_error *error);
  /* [control] The inverse: fills the parameters of one site in place, after initialize(), from the `n` tensors that PEFT's file
   * holds for it, in float32; names as export_tensors() writes them. GRAFT_E_INVALID_ARGUMENT if they do not fit. NULL slot:
   * each is copied into the parameter of its name, and none may be missing or left over. */
  graft_status (*import_tensors)(graft_instance *instance, const graft_peft_values *values,
                                 const graft_str *names, const graft_tensor *tensors, uint32_t n,
                                 graft_error *error);
  /* [control] Without an instance. Turns a given adapter_config.json into this component's parameters (a JSON object), or
   * fails with GRAFT_E_UNSUPPORTED if the file is of another method or uses an option that is not offered. */
  graft_status (*import_config)(graft_str adapter_config_json, const graft_sink *params_json,
                                graft_error *error);
  /* [control] Given all selected sites of a fresh adapter, before anything is planned: *is_wanted = 1 asks for passes of the
   * model over training data, without gradients and without this adapter, in which observe() sees what the sites are given.
   * Not called for a saved adapter. NULL slot: no calibration; else observe and allot must be there. */
  graft_status (*calibrate)(graft_instance *instance, const graft_site *const *sites, uint32_t n_sites,
                            int32_t *is_wanted, graft_error *error);
  /* [control] Once for each site in each pass, in the order in which the model applies them. What is kept of it is the
   * instance's own until initialize(), which should let it go. */
  graft_status (*observe)(graft_instance *instance, const graft_peft_observation *observation,
                          graft_error *error);
  /* [control] After each pass: what becomes of the n sites of calibrate(), of which the last call's values hold, zeroed before
   * each call. *is_done = 1 ends the calibration; the host may end it as well, after as many passes as the user allows.
   * GRAFT_E_INVALID_ARGUMENT: the user's parameters do not fit this model or data. */
  graft_status (*allot)(graft_instance *instance, graft_peft_allotment *const *allotments, uint32_t n,
                        int32_t *is_done, graft_error *error);
} graft_peft;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
