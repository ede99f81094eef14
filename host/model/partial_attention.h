// SPDX-License-Identifier: Apache-2.0
// Attention over a part of the keys, in a form that parts can be joined from. A softmax over the union of two
// key sets is a weighted mean of the two softmaxes, the weights following from their log-sum-exps (Rabe and
// Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135). So completions attend to a shared prompt
// and to their own past in two dense products, and no score matrix is ever kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace graft::model {

// All tensors have any strides with a dense last dimension. Stride 0 over heads is how grouped queries share
// keys.
struct PartialAttention {
  at::Tensor out;  // [B, H, Q, d], dtype of q
  at::Tensor lse;  // [B, H, Q] log of the sum of exponentiated scores; float32, float64 for float64
};

// softmax(scale · q kᵀ + mask) v for q [B, H, Q, d], k and v [B, H, K, d]; the softmax runs in float32 at
// least. `causal` needs Q == K. `mask` is added to the scores: undefined, or of q's dtype and expandable to
// [B, H, Q, K]; every query needs a key. No autograd. Any thread.
[[nodiscard]] PartialAttention partial_attention(const at::Tensor& q, const at::Tensor& k,
                                                 const at::Tensor& v, double scale, bool causal,
                                                 const at::Tensor& mask = {});

// Gradients (q, k, v) of a part, given `out` and `lse` of the whole: with the whole's log-sum-exp, exp(score
// - lse) is the final probability, so the parts' gradients add up to the exact ones.
[[nodiscard]] std::tuple<at::Tensor, at::Tensor, at::Tensor> partial_attention_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, double scale, bool causal);

// Joins another part into (out [..., d], lse [...]), in place.
void join_attention(at::Tensor& out, at::Tensor& lse, const at::Tensor& other_out,
                    const at::Tensor& other_lse);

// The two functions above in plain operators: what they fall back to where there is no fused kernel (and
// their reference).
[[nodiscard]] PartialAttention plain_partial_attention(const at::Tensor& q, const at::Tensor& k,
                                                       const at::Tensor& v, double scale, bool causal,
                                                       const at::Tensor& mask = {});
[[nodiscard]] std::tuple<at::Tensor, at::Tensor, at::Tensor> plain_partial_attention_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, double scale, bool causal);

}  // namespace graft::model
