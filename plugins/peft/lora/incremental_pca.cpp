// SPDX-License-Identifier: Apache-2.0
#include "incremental_pca.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/torch_random.h"

namespace lora {

namespace {

namespace ops = graft::ops;
using graft::DType;
using graft::Op;
using graft::Tensor;

Tensor float64(const Tensor& x) {
  return ops::to(x, DType::kFloat64);
}
// Sums of columns in float64.
Tensor column_sums(const Tensor& x) {
  return ops::sum(float64(x), {0});
}
Tensor squared(const Tensor& x) {
  return x * x;
}

Tensor q_of(const Tensor& x) {
  static const Op qr("aten::linalg_qr");
  return qr.many<2>({x, "reduced"})[0];
}

struct Components {
  Tensor values, vectors;  // [k], [k, in]
};

// torch.svd_lowrank(x, q, niter=4) after torch.manual_seed(42): singular values and right singular vectors.
Components lowrank_svd(const Tensor& x, std::int64_t q) {
  constexpr std::int64_t kIterations = 4, kSeed = 42;
  static const Op svd("aten::linalg_svd");
  const bool is_wide = x.size(0) < x.size(1);
  const Tensor tall = is_wide ? ops::t(x) : x, wide = ops::t(tall);
  const Tensor probe = peft::TorchGenerator(kSeed).normal({tall.size(1), q}, tall.dtype());
  Tensor basis = q_of(ops::matmul(tall, ops::to_device_of(probe, x)));
  for (std::int64_t i = 0; i < kIterations; ++i) {
    basis = q_of(ops::matmul(tall, q_of(ops::matmul(wide, basis))));
  }
  const auto parts = svd.many<3>({ops::matmul(ops::t(basis), tall), false});
  return {parts[1], is_wide ? ops::t(ops::matmul(basis, parts[0])) : parts[2]};
}

// Each row with the sign that makes its largest element positive.
Tensor with_fixed_signs(const Tensor& rows) {
  static const Op argmax("aten::argmax"), gather("aten::gather"), sign("aten::sign");
  const Tensor largest = argmax({ops::abs(rows), 1, true});
  return rows * sign({gather({rows, 1, largest})});
}

}  // namespace

// Chan, Golub and LeVeque's update of mean and variance.
void IncrementalPca::add_moments(const Tensor& x) {
  const auto n_new = static_cast<double>(x.size(0)), n_old = static_cast<double>(n_seen_);
  const double n_all = n_old + n_new;
  const Tensor sum = column_sums(x);
  const Tensor centred = x - sum / n_new;
  const Tensor spread = ops::sum(squared(float64(centred)), {0}) - squared(column_sums(centred)) / n_new;
  if (n_seen_ == 0) {
    mean_ = sum / n_all;
    variance_ = spread / n_all;
  } else {
    const double ratio = n_old / n_new;
    const Tensor old_sum = mean_ * n_old;
    mean_ = (old_sum + sum) / n_all;
    variance_ = (variance_ * n_old + spread + squared(old_sum / ratio - sum) * (ratio / n_all)) / n_all;
  }
}

void IncrementalPca::add(const Tensor& given) {
  const Tensor x = ops::to(given, DType::kFloat32);
  const auto n_new = static_cast<double>(x.size(0));
  const Tensor old_mean = mean_;
  const auto n_old = static_cast<double>(n_seen_);
  add_moments(x);
  n_seen_ += x.size(0);
  const auto n_all = static_cast<double>(n_seen_);
  Tensor rows;
  if (n_old == 0.0) {
    rows = ops::to(x - mean_, DType::kFloat32);
  } else {  // the components so far stand for the rows that led to them, one more row for the shift of the mean
    const Tensor new_mean = ops::mean(x, {0});
    const double weight = std::sqrt(n_old / n_all * n_new);
    rows = ops::cat({float64(ops::unsqueeze(singular_values_, 1) * components_), float64(x - new_mean),
                     ops::unsqueeze((old_mean - float64(new_mean)) * weight, 0)},
                    0);
  }
  const Components found = lowrank_svd(rows, 2 * count_);
  const std::int64_t k = std::min(count_, found.values.size(0));
  components_ = ops::narrow(with_fixed_signs(found.vectors), 0, 0, k);
  singular_values_ = ops::narrow(found.values, 0, 0, k);
  const Tensor total = ops::sum(variance_ * n_all, {0});
  explained_ = float64(squared(singular_values_)) / total;
}

}  // namespace lora
