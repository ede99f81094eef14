// SPDX-License-Identifier: Apache-2.0
// RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467).
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cmath>
#include <cstdint>

namespace qwen2_5_vl {

// One row: out = x / sqrt(mean(x²) + eps) · weight, for n values.
inline void rms_norm_row(const float* x, const float* weight, std::int64_t n, double eps, float* out) {
  constexpr std::int64_t kLanes = 16;  // partial sums, which the compiler keeps in vector registers
  float sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  }
  double sum = 0.0;
  for (const float partial : sums) sum += static_cast<double>(partial);
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const auto scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
  for (i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

// True if `tensor` is a contiguous float32 tensor in CPU memory that autograd does not follow here.
inline bool is_plain(const graft_tensor_info& info) {
  if (info.device != GRAFT_DEVICE_CPU || info.dtype != GRAFT_FLOAT32 || info.is_contiguous == 0) return false;
  if (info.requires_grad == 0) return true;
  const graft::GradMode probe(false);  // a trained tensor in a pass without gradients
  return !probe.was_enabled();
}

// x [T, D] normalised. In generation a step has few rows, and the seven kernels of ATen's composite cost more than their
// arithmetic: small plain inputs are done here.
inline graft::Tensor rms_norm(const graft::Tensor& x, const graft::Tensor& weight, double eps) {
  constexpr std::int64_t kSmall = 16384;  // values; beyond, ATen's vectors and threads win
  const graft_tensor_info info = x.info(), weight_info = weight.info();
  const std::int64_t rows = info.sizes[0], width = info.sizes[1];
  if (rows * width > kSmall || !is_plain(info) || !is_plain(weight_info)) {
    return graft::ops::rms_norm(x, weight, eps);
  }
  graft::Tensor out = graft::Tensor::from_data(graft::DType::kFloat32, {rows, width}, nullptr);
  float* values = out.data<float>();
  for (std::int64_t row = 0; row < rows; ++row) {
    rms_norm_row(static_cast<const float*>(info.data) + row * width,
                 static_cast<const float*>(weight_info.data), width, eps, values + row * width);
  }
  return out;
}

}  // namespace qwen2_5_vl
