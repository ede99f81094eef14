// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in the pairing of GPT-NeoX: the first half of a
// head rotates with the second.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>

namespace qwen2_5_vl {

// Cosines and sines to rotate by; one computation serves all layers of a pass.
struct Rotation {
  graft::Tensor cos;  // [T, 1, d]
  graft::Tensor sin;  // [T, 1, d], negated in the first half
};

// base^(-2i / size) for i below size / 2, in float32 as transformers computes it.
inline graft::Tensor rotary_frequencies(double base, std::int64_t size) {
  static const graft::Op arange("aten::arange", "start_step");
  static const graft::Op power("aten::pow", "Scalar");
  static const graft::Op reciprocal("aten::reciprocal");
  const graft::Tensor steps = arange({0, size, 2, graft::DType::kFloat32});
  return reciprocal({power({base, graft::ops::div(steps, static_cast<double>(size))})});
}

// From float32 angles [T, d / 2]; in `dtype`.
inline Rotation rotation_of(const graft::Tensor& angles, graft::DType dtype) {
  namespace ops = graft::ops;
  const graft::Tensor cos = ops::to(ops::cos(angles), dtype);
  const graft::Tensor sin = ops::to(ops::sin(angles), dtype);
  return {ops::unsqueeze(ops::cat({cos, cos}, 1), 1), ops::unsqueeze(ops::cat({ops::neg(sin), sin}, 1), 1)};
}

// x [T, H, d], rotated: the halves (a, b) become (a cos − b sin, b cos + a sin).
inline graft::Tensor rotate(const graft::Tensor& x, const graft::Tensor& cos, const graft::Tensor& sin) {
  static const graft::Op addcmul("aten::addcmul");
  const auto [a, b] = graft::ops::chunk<2>(x, -1);
  return addcmul({graft::ops::mul(x, cos), graft::ops::cat({b, a}, -1), sin});
}

}  // namespace qwen2_5_vl
