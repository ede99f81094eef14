// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in the pairing of GPT-NeoX: the first half of
// a head rotates with the second. Heads are held as [..., 2, d / 2], so that swapping the halves is one flip.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>

namespace qwen2_5_vl {

// Cosines and sines to rotate by; one computation serves all layers of a pass.
struct Rotation {
  graft::Tensor cos;  // [T, 1, 1, d / 2]
  graft::Tensor sin;  // [T, 1, 2, d / 2], negated for the first half
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
  const std::int64_t t = angles.size(0), half = angles.size(1);
  const graft::Tensor cos = ops::to(ops::cos(angles), dtype);
  const graft::Tensor sin = ops::to(ops::sin(angles), dtype);
  return {ops::view(cos, {t, 1, 1, half}), ops::view(ops::cat({ops::neg(sin), sin}, 1), {t, 1, 2, half})};
}

// x [T, H, 2, d / 2] rotated: (a, b) becomes (a cos − b sin, b cos + a sin).
inline graft::Tensor rotate(const graft::Tensor& x, const graft::Tensor& cos, const graft::Tensor& sin) {
  static const graft::Op flip("aten::flip");
  static const graft::Op addcmul("aten::addcmul");
  return addcmul({graft::ops::mul(x, cos), flip({x, {-2}}), sin});
}

}  // namespace qwen2_5_vl
