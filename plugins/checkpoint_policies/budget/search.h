// SPDX-License-Identifier: Apache-2.0
/* The cheapest set of segments to recompute such that the activations fit into a limit.
 *
 * Each tree of segments (a block with its parts) has a few ways to run; a way has the bytes that stay between forward and backward,
 * the bytes that its backward needs on top for a while, and the arithmetic that is done twice. One way for each tree is chosen, trees
 * in the order of the forward pass, with dynamic programming over what can be best: of two choices for the first i trees, one that
 * needs no less memory and no less arithmetic than the other is dropped (Nemhauser and Ullmann 1969, "Discrete dynamic programming
 * and capital allocation"). The result is exact while no list grows above MOST_STATES, which 200 segments do not reach in
 * practice; above that, states of nearly equal memory are thinned out.
 *
 * While backward is at tree i, those behind it are gone: it needs what the first i keep, and what tree i needs on top. So blocks
 * recomputed early in the forward pass cost nothing at the peak, which the search finds by itself. */
#ifndef GRAFT_CHECKPOINT_POLICIES_BUDGET_SEARCH_H
#define GRAFT_CHECKPOINT_POLICIES_BUDGET_SEARCH_H

#include <graft/checkpoint_policy.h>

typedef struct budget_limit {
  double fraction; /* of what is needed without recomputation; counts if bytes is 0 */
  uint64_t bytes;  /* afterwards the limit that held */
  uint64_t most;   /* that it may be, 0: any */
  uint64_t least;  /* out: the smallest limit that can be kept */
  int32_t fits;    /* out: 0 if the limit is below that; then everything is recomputed */
} budget_limit;

/* Decides for each of the n segments. 0 if there is no memory for the search, with the decisions untouched. */
int budget_search(const graft_segment_info *const *segments, uint64_t n, budget_limit *limits,
                  int32_t *decisions);

#endif
