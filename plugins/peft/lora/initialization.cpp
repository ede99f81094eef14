// SPDX-License-Identifier: Apache-2.0
#include "initialization.h"

#include <string>

namespace lora {

namespace {

namespace ops = graft::ops;
using graft::Op;
using graft::Tensor;

Tensor float32(const Tensor& x) {
  return ops::to(x, graft::DType::kFloat32);
}

Tensor q_of(const Tensor& x) {
  static const Op qr("aten::linalg_qr");
  return qr.many<2>({x, "reduced"})[0];
}

struct Svd {
  Tensor u, s, v_transposed;
};

Svd exact_svd(const Tensor& x) {
  static const Op svd("aten::linalg_svd");
  auto parts = svd.many<3>({x, false});
  return {parts[0], parts[1], parts[2]};
}

// Of the part of W that the probe's rows span after some power iterations.
Svd randomised_svd(const Tensor& weight, std::int64_t iterations, const Tensor& probe) {
  const Tensor transposed = ops::t(weight);
  Tensor basis = q_of(ops::matmul(weight, ops::t(probe)));  // [out, r]
  for (std::int64_t i = 0; i < iterations; ++i) {
    basis = q_of(ops::matmul(weight, q_of(ops::matmul(transposed, basis))));
  }
  Svd small = exact_svd(ops::matmul(ops::t(basis), weight));
  small.u = ops::matmul(basis, small.u);
  return small;
}

}  // namespace

Factors pissa(const Tensor& weight, std::int64_t rank, double scale, std::int64_t iterations,
              const Tensor& probe) {
  const Tensor w = float32(weight);
  const Svd svd = iterations > 0 ? randomised_svd(w, iterations, probe) : exact_svd(w);
  const Tensor root = ops::sqrt(ops::narrow(svd.s, 0, 0, rank) / scale);
  return {ops::unsqueeze(root, 1) * ops::narrow(svd.v_transposed, 0, 0, rank),
          ops::narrow(svd.u, 1, 0, rank) * root};
}

Factors olora(const Tensor& weight, std::int64_t rank) {
  static const Op qr("aten::linalg_qr");
  const auto parts = qr.many<2>({float32(weight), "reduced"});
  return {ops::narrow(parts[1], 0, 0, rank), ops::narrow(parts[0], 1, 0, rank)};
}

Factors orthogonal(const Tensor& a, const Tensor& b) {
  const std::int64_t rank = a.size(0), half = rank / 2, in = a.size(1);
  if (in < 2 * rank) {
    throw graft::Error(GRAFT_E_INVALID_ARGUMENT,
                       "init=orthogonal needs layers with at least 2 r = " + std::to_string(2 * rank) +
                           " inputs, found " + std::to_string(in));
  }
  // The second half of A's draws gives the square matrix, the first half A itself.
  const Tensor square =
      ops::reshape(ops::narrow(ops::narrow(a, 0, half, half), 1, 0, 2 * rank), {rank, rank});
  const Tensor q = q_of(square);
  const Tensor odd = ops::slice(q, 0, 0, rank, 2), even = ops::slice(q, 0, 1, rank, 2);  // [r / 2, r]
  const Tensor new_a = ops::matmul(ops::t(odd), ops::narrow(a, 0, 0, half)) / 10.0;
  const Tensor new_b = ops::matmul(ops::narrow(b, 1, 0, half), even) / 10.0;
  return {new_a, new_b};
}

}  // namespace lora
