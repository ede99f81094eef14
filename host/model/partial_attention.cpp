// SPDX-License-Identifier: Apache-2.0
#include "model/partial_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>

#include <limits>
#include <optional>

namespace graft::model {

namespace {

// Tensors without values stand for those of the CPU.
bool uses_fused_kernel(const at::Tensor& x) {
  return x.is_cpu() || x.is_meta();
}

at::Tensor upcast(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

// Scaled and masked scores, [B, H, Q, K].
at::Tensor plain_scores(const at::Tensor& q, const at::Tensor& k, double scale, bool causal,
                        const at::Tensor& mask) {
  at::Tensor scores = at::matmul(upcast(q), upcast(k).transpose(-1, -2)).mul_(scale);
  if (mask.defined()) scores.add_(mask);
  if (causal) {
    const at::Tensor future = at::ones({q.size(2), k.size(2)}, q.options().dtype(at::kBool)).triu_(1);
    scores.masked_fill_(future, -std::numeric_limits<double>::infinity());
  }
  return scores;
}

}  // namespace

PartialAttention plain_partial_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                         double scale, bool causal, const at::Tensor& mask) {
  const at::NoGradGuard no_grad;
  at::Tensor scores = plain_scores(q, k, scale, causal, mask);
  const at::Tensor lse = at::logsumexp(scores, {-1});
  const at::Tensor out = at::matmul(scores.sub_(lse.unsqueeze(-1)).exp_(), upcast(v));
  return {out.to(q.scalar_type()), lse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> plain_partial_attention_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, double scale, bool causal) {
  const at::NoGradGuard no_grad;
  const at::Tensor grad = upcast(grad_out);
  const at::Tensor p = plain_scores(q, k, scale, causal, {}).sub_(lse.unsqueeze(-1)).exp_();  // [B, H, Q, K]
  const at::Tensor delta = (grad * upcast(out)).sum(-1, true);                                // [B, H, Q, 1]
  const at::Tensor grad_scores =
      at::matmul(grad, upcast(v).transpose(-1, -2)).sub_(delta).mul_(p).mul_(scale);
  return {at::matmul(grad_scores, upcast(k)).to(q.scalar_type()),
          at::matmul(grad_scores.transpose(-1, -2), upcast(q)).to(k.scalar_type()),
          at::matmul(p.transpose(-1, -2), grad).to(v.scalar_type())};
}

PartialAttention partial_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   double scale, bool causal, const at::Tensor& mask) {
  if (!uses_fused_kernel(q)) return plain_partial_attention(q, k, v, scale, causal, mask);
  const at::NoGradGuard no_grad;
  const auto bias = mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt;
  auto [out, lse] =
      at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, /*dropout_p=*/0.0, causal, bias, scale);
  return {out, lse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> partial_attention_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, double scale, bool causal) {
  if (!uses_fused_kernel(q))
    return plain_partial_attention_backward(grad_out, q, k, v, out, lse, scale, causal);
  const at::NoGradGuard no_grad;
  return at::_scaled_dot_product_flash_attention_for_cpu_backward(
      grad_out, q, k, v, out, lse, /*dropout_p=*/0.0, causal, std::nullopt, scale);
}

void join_attention(at::Tensor& out, at::Tensor& lse, const at::Tensor& other_out,
                    const at::Tensor& other_lse) {
  const at::Tensor share = at::sigmoid(other_lse - lse).unsqueeze(-1);  // of the other part in the whole
  out.lerp_(other_out.to(out.scalar_type()), share.to(out.scalar_type()));
  lse.copy_(at::logaddexp(lse, other_lse));
}

}  // namespace graft::model
