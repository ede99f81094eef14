// SPDX-License-Identifier: Apache-2.0
/* graft/reward.h: the kind "reward": a batch of completions in, named scores out. Needs no tensors. */
#ifndef GRAFT_REWARD_H
#define GRAFT_REWARD_H

#include <graft/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_INTERFACE_REWARD "graft.reward/1"

/* ---- what a reward declares -------------------------------------------------------------------------------------- */

#define GRAFT_REWARD_BATCH_DEPENDENT 1u /* a score depends on the other items of the batch */
#define GRAFT_REWARD_BLOCKING_IO 2u     /* a call may wait for a network or disk */
#define GRAFT_REWARD_RANDOM 4u          /* equal input need not give equal scores */

/* Parts of a completion: what a contract asks for, and what an observation found. */
#define GRAFT_PART_THINK 1u         /* <think>…</think> */
#define GRAFT_PART_ANSWER 2u        /* <answer>…</answer> */
#define GRAFT_PART_BOX 4u           /* at least one box, in any notation */
#define GRAFT_PART_JSON 8u          /* a JSON array or object */
#define GRAFT_PART_FENCE 16u        /* a ``` fence */
#define GRAFT_PART_TEXT_OUTSIDE 32u /* text other than white space outside of the two tags */
#define GRAFT_PART_SEVERAL 64u      /* more than one <answer> */
#define GRAFT_PART_UNCLOSED 128u    /* <think> or <answer> that is not closed */
#define GRAFT_PART_FULL_WIDTH 256u  /* Chinese punctuation in a box: （ ） ， ［ ］ ： “ ” */
#define GRAFT_PART_FRACTIONS 512u   /* a coordinate with a decimal point */
#define GRAFT_PART_INSIDE_OUT 1024u /* a box with x2 <= x1 or y2 <= y1 */

/* Notations of boxes: which ones a contract accepts, and which ones an observation found. */
#define GRAFT_BOX_LIST 1u    /* [x1, y1, x2, y2], bare or as a value in JSON */
#define GRAFT_BOX_CORNERS 2u /* (x1,y1),(x2,y2) */
#define GRAFT_BOX_TOKENS 4u  /* <|box_start|>(x1,y1),(x2,y2)<|box_end|>, as Qwen2-VL writes */
#define GRAFT_BOX_TAG 8u     /* <box>[[x1, y1, x2, y2]]</box>, as InternVL writes */

/* The form of completion that this reward can score: compared with what the prompt asks for and what the model family
 * writes, before training. */
typedef struct graft_output_contract {
  graft_hdr hdr;
  graft_str format; /* one sentence for people, such as "<think>…</think><answer>[x1, y1, x2, y2]</answer>" */
  graft_str example;        /* a completion that gets the full score for some solution */
  int32_t coordinate_space; /* GRAFT_SPACE_* of the boxes it reads */
  uint32_t parts;           /* GRAFT_PART_* without which a completion cannot get the full score */
  uint32_t box_notations;   /* GRAFT_BOX_* that it reads; 0 if it reads no boxes */
  uint32_t reserved;
} graft_output_contract;

typedef struct graft_reward_desc {
  graft_hdr hdr;
  const graft_str
      *score_names;  /* one per score of an item: [a-z0-9_]+; a single score usually has the reward's name */
  uint32_t n_scores; /* >= 1 */
  uint32_t properties; /* GRAFT_REWARD_* */
  double minimum;      /* all scores lie in [minimum, maximum]; infinities allowed */
  double maximum;
  const graft_output_contract *contract; /* NULL: any text */
} graft_reward_desc;

/* ---- a batch ------------------------------------------------------------------------------------------------------ */

#define GRAFT_FINISH_STOP 0   /* the model ended the completion */
#define GRAFT_FINISH_LENGTH 1 /* cut at the length limit */

/* Sizes of one image of the sample, in pixels. */
typedef struct graft_image_size {
  int64_t original_width;
  int64_t original_height;
  int64_t processed_width; /* after the family's resize; 0 if unknown */
  int64_t processed_height;
} graft_image_size;

typedef struct graft_reward_item {
  graft_hdr hdr;
  graft_str prompt;         /* the question, as in the data set */
  graft_str completion;     /* without special tokens */
  graft_str completion_raw; /* with them; empty if unknown */
  graft_str solution;       /* the reference answer; empty if the data set has none */
  graft_str sample_json;    /* the sample's whole record, all columns */
  const int64_t *token_ids; /* of the completion, the stop token included; NULL if unknown */
  uint64_t n_token_ids;
  const graft_image_size *images; /* in prompt order */
  uint32_t n_images;
  int32_t finish_reason; /* GRAFT_FINISH_* */
  uint64_t group;        /* items of one group answer the same prompt */
} graft_reward_item;

typedef struct graft_reward_batch {
  graft_hdr hdr;
  const graft_reward_item *const *items;
  uint64_t n_items;
  uint64_t step; /* optimizer step of the run, from 0 */
} graft_reward_batch;

/* ---- scores ------------------------------------------------------------------------------------------------------- */

#define GRAFT_SCORE_OK 0 /* the scores are valid */
#define GRAFT_SCORE_NO_OPINION \
  1 /* the reward does not apply; the item is left out of its group's statistics */
#define GRAFT_SCORE_UNPARSABLE \
  2 /* scored (usually with the minimum) because the format was not found: the scores count */
#define GRAFT_SCORE_ERROR 3   /* could not be scored; like no opinion, but counted and reported */
#define GRAFT_SCORE_TIMEOUT 4 /* likewise */

/* What a reward found in one completion, for diagnosis: whether or not it can score it. */
typedef struct graft_observation {
  graft_hdr hdr;
  graft_str answer;    /* what it takes for the answer; empty if there is none */
  graft_str key;       /* the JSON key of the first box, such as "bbox_2d"; empty if it has none */
  const double *boxes; /* [n_boxes, 4]: the boxes in order, numbers as written */
  uint64_t n_boxes;
  uint32_t parts;         /* GRAFT_PART_* */
  uint32_t box_notations; /* GRAFT_BOX_* of all boxes */
} graft_observation;

/* Where score() puts its results; arrays belong to the host. Before the call all scores are 0 and all statuses OK. */
typedef struct graft_reward_result {
  graft_hdr hdr;
  double *scores;    /* [n_items, n_scores], row-major, finite */
  int32_t *statuses; /* [n_items], GRAFT_SCORE_* */
  void *context;
  /* [worker] Optional short reason for one item's score or status; the host copies it. */
  void (*set_reason)(void *context, uint64_t item, graft_str reason);
  /* [worker] NULL unless the host wants to know: at most once per item, whatever its status; the host copies. */
  void (*observe)(void *context, uint64_t item, const graft_observation *observation);
} graft_reward_result;

typedef struct graft_reward {
  graft_hdr hdr;
  /* [control] Constant while the instance lives. */
  graft_status (*describe)(graft_instance *instance, const graft_reward_desc **out, graft_error *error);
  /* [worker] Scores a whole batch. Equal items get equal scores in any order and company, unless declared otherwise. */
  graft_status (*score)(graft_instance *instance, const graft_reward_batch *batch,
                        const graft_reward_result *result, graft_error *error);
} graft_reward;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
