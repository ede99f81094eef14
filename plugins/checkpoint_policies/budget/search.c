// SPDX-License-Identifier: Apache-2.0
#include "search.h"

#include <stdlib.h>
#include <string.h>

/* What backward holds beside the activations while it is within a part of a block: gradients of its widest tensors. Measured on a
 * decoder with SwiGLU under LoRA: two gradients of the width of the four saved ones, 0.46 to 0.49 of what the part
 * keeps. */
#define GRADIENT_SHARE 0.55
#define MOST_STATES 65536u
#define MOST_WAYS 32u

/* ---- memory that is freed as a whole ----------------------------------------------------------------------------- */

typedef struct chunk {
  struct chunk *before;
} chunk;

static void *take(chunk **all, size_t bytes) {
  chunk *made = malloc(sizeof(chunk) + bytes);
  if (made == NULL) return NULL;
  made->before = *all;
  *all = made;
  return made + 1;
}

static void free_all(chunk *all) {
  while (all != NULL) {
    chunk *before = all->before;
    free(all);
    all = before;
  }
}

/* ---- ways to run a tree of segments ------------------------------------------------------------------------------ */

typedef struct way {
  uint64_t stored; /* bytes kept until the tree's backward */
  uint64_t extra;  /* bytes on top while that runs */
  uint64_t flops;  /* done again */
  int32_t decision;
  const struct way *child;    /* the way of the last child that was added … */
  const struct way *siblings; /* … and the combination of those before it */
} way;

typedef struct ways {
  way *items;
  size_t n;
} ways;

typedef struct tree {
  uint64_t segment;
  uint64_t first_child, next; /* indices of segments, n: none. Children in reverse order. */
} tree;

typedef struct search {
  const graft_segment_info *const *segments;
  uint64_t n;
  tree *trees; /* by segment */
  chunk *memory;
} search;

static uint64_t less(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

static uint64_t larger(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

static int by_stored(const void *a, const void *b) {
  const way *x = a, *y = b;
  if (x->stored != y->stored) return x->stored < y->stored ? -1 : 1;
  if (x->extra != y->extra) return x->extra < y->extra ? -1 : 1;
  if (x->flops != y->flops) return x->flops < y->flops ? -1 : 1;
  return 0;
}

/* Drops what is no better than another one in any respect, and thins out what is left above MOST_WAYS. */
static void keep_best(ways *list) {
  size_t i, j, n = 0;
  qsort(list->items, list->n, sizeof(way), by_stored);
  for (i = 0; i < list->n; ++i) {
    int is_beaten = 0;
    for (j = 0; j < n && !is_beaten; ++j) {
      is_beaten =
          list->items[j].extra <= list->items[i].extra && list->items[j].flops <= list->items[i].flops;
    }
    if (!is_beaten) list->items[n++] = list->items[i];
  }
  if (n > MOST_WAYS) {
    for (i = 0; i < MOST_WAYS; ++i) list->items[i] = list->items[i * (n - 1) / (MOST_WAYS - 1)];
    n = MOST_WAYS;
  }
  list->n = n;
}

/* Every combination of the children's ways, in `out`: sums over the children, and the largest extra. 0 without memory. */
static int combine_children(search *s, uint64_t segment, ways *out, const ways *of_segment) {
  uint64_t child;
  way *none = take(&s->memory, sizeof(way));
  if (none == NULL) return 0;
  memset(none, 0, sizeof(*none));
  out->items = none;
  out->n = 1;
  for (child = s->trees[segment].first_child; child != s->n; child = s->trees[child].next) {
    const ways *more = &of_segment[child];
    const ways before = *out;
    size_t i, j;
    out->n = 0;
    out->items = take(&s->memory, before.n * more->n * sizeof(way));
    if (out->items == NULL) return 0;
    for (i = 0; i < before.n; ++i) {
      for (j = 0; j < more->n; ++j) {
        const way *x = &before.items[i], *y = &more->items[j];
        way *both = &out->items[out->n++];
        both->stored = x->stored + y->stored;
        both->extra = larger(x->extra, y->extra);
        both->flops = x->flops + y->flops;
        both->decision = GRAFT_SEGMENT_KEEP;
        both->child = y;
        both->siblings = x;
      }
    }
    keep_best(out);
  }
  return 1;
}

/* All ways of a segment whose children's are known. 0 without memory. */
static int ways_of(search *s, uint64_t segment, ways *of_segment) {
  const graft_segment_info *info = s->segments[segment];
  ways children, *list = &of_segment[segment];
  uint64_t child, own = info->activation_bytes;
  size_t i;
  for (child = s->trees[segment].first_child; child != s->n; child = s->trees[child].next) {
    own = less(own, s->segments[child]->activation_bytes);
  }
  if (!combine_children(s, segment, &children, of_segment)) return 0;
  list->items = take(&s->memory, 2 * children.n * sizeof(way));
  if (list->items == NULL) return 0;
  list->n = 0;
  for (i = 0; i < children.n; ++i) {
    way *kept = &list->items[list->n++];
    *kept = children.items[i];
    kept->stored += own;
    if (info->activation_bytes > info->input_bytes) {
      way *again = &list->items[list->n++];
      *again = children.items[i];
      again->decision = GRAFT_SEGMENT_RECOMPUTE;
      again->stored = info->input_bytes;
      again->extra = less(own + children.items[i].stored, info->input_bytes) + children.items[i].extra;
      again->flops = info->forward_flops + children.items[i].flops;
    }
  }
  keep_best(list);
  return 1;
}

static void decide(const search *s, uint64_t segment, const way *chosen, int32_t *decisions) {
  const way *at = chosen;
  uint64_t child;
  uint64_t n_children = 0, i;
  decisions[segment] = chosen->decision;
  for (child = s->trees[segment].first_child; child != s->n; child = s->trees[child].next) ++n_children;
  /* The chain of combinations ends with the first child that was added. */
  for (i = n_children; i > 0; --i, at = at->siblings) {
    uint64_t place = 1;
    child = s->trees[segment].first_child;
    while (place++ < i) child = s->trees[child].next;
    decide(s, child, at->child, decisions);
  }
}

/* ---- one way for each tree --------------------------------------------------------------------------------------- */

typedef struct state {
  uint64_t stored, flops;
  uint32_t before; /* state of the trees before this one */
  uint32_t way;
} state;

typedef struct states {
  state *items;
  size_t n;
} states;

/* Appends a state unless the last one, which needs no more memory, needs no more arithmetic either. */
static size_t append(state *items, size_t n, const state *next) {
  if (n == 0 || next->flops < items[n - 1].flops) items[n++] = *next;
  return n;
}

static size_t thin_out(state *items, size_t n) {
  size_t i;
  if (n <= MOST_STATES) return n;
  for (i = 0; i < MOST_STATES; ++i) items[i] = items[i * (n - 1) / (MOST_STATES - 1)];
  return MOST_STATES;
}

/* `with` chosen after the state `place` of those before. 0 if that needs more than the limit: and so do all states behind it. */
static int extend(const states *before, size_t place, const way *with, uint32_t with_place, uint64_t limit,
                  uint64_t rest, state *out) {
  if (place >= before->n) return 0;
  out->stored = before->items[place].stored + with->stored;
  out->flops = before->items[place].flops + with->flops;
  out->before = (uint32_t)place;
  out->way = with_place;
  return out->stored + larger(with->extra, rest) <= limit;
}

/* Lists are in ascending order of memory, hence in descending order of arithmetic; so is what this makes of the list `old` and of
 * every state before extended by `with`. */
static size_t merge(const state *old, size_t n_old, const states *before, const way *with,
                    uint32_t with_place, uint64_t limit, uint64_t rest, state *out) {
  size_t i = 0, place = 0, n = 0;
  state next;
  int has_next = extend(before, 0, with, with_place, limit, rest, &next);
  while (i < n_old || has_next) {
    const int is_old = i < n_old && (!has_next || old[i].stored < next.stored ||
                                     (old[i].stored == next.stored && old[i].flops <= next.flops));
    if (is_old) {
      n = append(out, n, &old[i++]);
    } else {
      n = append(out, n, &next);
      has_next = extend(before, ++place, with, with_place, limit, rest, &next);
    }
  }
  return thin_out(out, n);
}

/* The states after one more tree with these ways, of which `rest` bytes at least follow. 0 without memory. */
static int add_tree(search *s, const states *before, const ways *list, uint64_t limit, uint64_t rest,
                    states *out) {
  const size_t most = MOST_STATES + before->n;
  state *old = malloc(2 * most * sizeof(state)), *made;
  size_t n = 0;
  uint32_t j;
  if (old == NULL) return 0;
  made = old + most;
  for (j = 0; j < list->n; ++j) {
    n = merge(old, n, before, &list->items[j], j, limit, rest, made);
    memcpy(old, made, n * sizeof(state));
  }
  out->items = take(&s->memory, (n > 0 ? n : 1) * sizeof(state));
  if (out->items != NULL) {
    memcpy(out->items, old, n * sizeof(state));
    out->n = n;
  }
  free(old);
  return out->items != NULL;
}

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

/* Position in the forward pass of what a component computes. */
static int place_of(int32_t component) {
  switch (component) {
    case GRAFT_COMPONENT_VISION:
      return 0;
    case GRAFT_COMPONENT_PROJECTOR:
      return 1;
    case GRAFT_COMPONENT_LANGUAGE:
      return 2;
    default:
      return 3;
  }
}

static uint64_t least_stored(const ways *list) {
  return list->items[0].stored; /* they are in that order */
}

static uint64_t least_peak(const ways *list) {
  uint64_t least = UINT64_MAX;
  size_t i;
  for (i = 0; i < list->n; ++i) {
    if (list->items[i].stored + list->items[i].extra < least)
      least = list->items[i].stored + list->items[i].extra;
  }
  return least;
}

static void plant(search *s, uint64_t *roots, uint64_t *n_roots) {
  uint64_t i;
  int place;
  for (i = 0; i < s->n; ++i) {
    s->trees[i].segment = i;
    s->trees[i].first_child = s->trees[i].next = s->n;
  }
  for (i = 0; i < s->n; ++i) {
    const int32_t parent = s->segments[i]->parent;
    if (parent < 0) continue;
    s->trees[i].next = s->trees[parent].first_child;
    s->trees[parent].first_child = i;
  }
  *n_roots = 0;
  for (place = 0; place <= 3; ++place) {
    for (i = 0; i < s->n; ++i) {
      if (s->segments[i]->parent < 0 && place_of(s->segments[i]->component) == place) roots[(*n_roots)++] = i;
    }
  }
}

/* Bytes of gradients in backward: of the largest segment that has no parts. */
static uint64_t gradients_of(const search *s) {
  uint64_t i, largest = 0;
  for (i = 0; i < s->n; ++i) {
    if (s->trees[i].first_child == s->n) largest = larger(largest, s->segments[i]->activation_bytes);
  }
  return (uint64_t)(GRADIENT_SHARE * (double)largest);
}

/* Nothing fits: as little as there can be. */
static void decide_least(const search *s, const uint64_t *roots, uint64_t n_roots, const ways *of_segment,
                         int32_t *decisions) {
  uint64_t i;
  for (i = 0; i < n_roots; ++i) decide(s, roots[i], &of_segment[roots[i]].items[0], decisions);
}

/* 0 without memory. */
static int run_search(search *s, budget_limit *limits, int32_t *decisions) {
  ways *of_segment = take(&s->memory, s->n * sizeof(ways));
  uint64_t *roots = take(&s->memory, s->n * sizeof(uint64_t));
  uint64_t *rest = take(&s->memory, (s->n + 1) * sizeof(uint64_t));
  states *after = take(&s->memory, (s->n + 1) * sizeof(states));
  state *start = take(&s->memory, sizeof(state));
  uint64_t n_roots, i, total = 0, stored = 0, gradients, limit, peak = 0;
  size_t best;
  s->trees = take(&s->memory, s->n * sizeof(tree));
  if (!of_segment || !roots || !rest || !after || !start || !s->trees) return 0;
  plant(s, roots, &n_roots);
  for (i = s->n; i > 0; --i) { /* children stand behind their parents */
    if (!ways_of(s, i - 1, of_segment)) return 0;
  }
  gradients = gradients_of(s);
  rest[n_roots] = 0;
  for (i = n_roots; i > 0; --i) {
    const ways *list = &of_segment[roots[i - 1]];
    stored += least_stored(list);
    rest[i - 1] = stored;
    peak = larger(peak, least_peak(list));
    total += s->segments[roots[i - 1]]->activation_bytes;
  }
  limit = limits->bytes > 0 ? limits->bytes : (uint64_t)(limits->fraction * (double)(total + gradients));
  if (limits->most > 0 && limits->most < limit) limit = limits->most;
  limits->bytes = limit;
  limits->least = larger(stored, peak) + gradients;
  limits->fits = 1;

  memset(start, 0, sizeof(*start));
  after[0].items = start;
  after[0].n = 1;
  for (i = 0; i < n_roots; ++i) {
    if (!add_tree(s, &after[i], &of_segment[roots[i]], less(limit, gradients), rest[i + 1], &after[i + 1]))
      return 0;
    if (after[i + 1].n == 0) {
      limits->fits = 0;
      decide_least(s, roots, n_roots, of_segment, decisions);
      return 1;
    }
  }
  best = after[n_roots].n - 1; /* more memory, less arithmetic: the last is the cheapest */
  for (i = n_roots; i > 0; --i) {
    const state *at = &after[i].items[best];
    decide(s, roots[i - 1], &of_segment[roots[i - 1]].items[at->way], decisions);
    best = at->before;
  }
  return 1;
}

int budget_search(const graft_segment_info *const *segments, uint64_t n, budget_limit *limits,
                  int32_t *decisions) {
  search s = {NULL, 0, NULL, NULL};
  int is_done;
  limits->fits = 1;
  if (n == 0) return 1;
  s.segments = segments;
  s.n = n;
  is_done = run_search(&s, limits, decisions);
  free_all(s.memory);
  return is_done;
}
