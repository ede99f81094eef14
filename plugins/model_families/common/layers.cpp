// SPDX-License-Identifier: Apache-2.0
#include "common/layers.h"

namespace families {

using graft::Tensor;
namespace ops = graft::ops;

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return ops::rms_norm(ops::to(x, weight.dtype()), weight, eps);
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  static const graft::Op op("aten::layer_norm");
  return op({ops::to(x, weight.dtype()), weight.sizes(), weight, bias, eps});
}

Tensor quick_gelu(const Tensor& x) {
  return x * ops::sigmoid(x * 1.702);
}

Tensor SwiGlu::operator()(const graft::Exec& exec, const Tensor& x) const {
  if (is_joined) {
    const auto [gate, up] = ops::chunk<2>(exec.linear(gate_proj, x), -1);
    return exec.linear(down_proj, ops::silu(gate) * up);
  }
  const Tensor gate = ops::silu(exec.linear(gate_proj, x));
  return exec.linear(down_proj, gate * exec.linear(up_proj, x));
}

}  // namespace families
