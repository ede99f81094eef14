// SPDX-License-Identifier: Apache-2.0
#include "rotation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace oft {

namespace ops = graft::ops;
using graft::Op;
using graft::Tensor;

namespace {

Tensor identity(std::int64_t size, const Tensor& like) {
  static const Op eye("aten::eye");
  return ops::to_device_of(eye({size, like.dtype()}), like);
}

}  // namespace

std::int64_t nearest_divisor(std::int64_t features, std::int64_t wanted) {
  if (wanted >= features) return features;
  std::int64_t higher = wanted, lower = wanted;
  while (features % higher != 0) ++higher;
  while (features % lower != 0) --lower;
  return wanted - lower <= higher - wanted ? lower : higher;
}

std::vector<std::int64_t> triangle(std::int64_t size) {
  std::vector<std::int64_t> places(static_cast<std::size_t>(size * size), 0);
  std::int64_t next = 1;
  for (std::int64_t row = 0; row < size; ++row) {
    for (std::int64_t column = row + 1; column < size; ++column) {
      places[static_cast<std::size_t>(row * size + column)] = next++;
    }
  }
  return places;
}

Tensor rotations(const Tensor& weight, const std::vector<std::int64_t>& places, std::int64_t terms) {
  static const Op pad("aten::constant_pad_nd"), solve("aten::linalg_solve"), baddbmm("aten::baddbmm");
  const auto size = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(places.size()))));
  const Tensor list =
      ops::index_select(pad({weight, {1, 0}}), 1, ops::to_device_of(Tensor::from(places), weight));
  const Tensor upper = ops::reshape(list, {weight.size(0), size, size});
  const Tensor q = upper - ops::transpose(upper, 1, 2), one = identity(size, weight);
  if (terms == 0) return solve({one + q, one - q, false});  // X (I + Q) = I − Q
  if (terms == 2) return ops::add_scaled(one, q, 2.0);
  // By Horner's rule. The last coefficient is 1, not 2, and PEFT gives three terms the fourth.
  const Tensor two = one * 2.0;
  Tensor sum = q + two;
  for (std::int64_t power = std::max<std::int64_t>(terms, 4) - 2; power > 0; --power) {
    sum = baddbmm({power > 1 ? two : one, sum, q});
  }
  return sum;
}

Tensor projected(const Tensor& weight, double eps) {
  static const Op clamp_max("aten::clamp_max"), reciprocal("aten::reciprocal");
  const double most = eps / std::sqrt(static_cast<double>(weight.size(0)));
  const Tensor norm = ops::sqrt(ops::sum(weight * weight, {1}, true) * 2.0);  // Q has each element twice
  return weight * clamp_max({reciprocal({norm}) * most, 1.0});
}

Tensor with_dropout(const Tensor& blocks, double share) {
  static const Op randperm("aten::randperm"), ge("aten::ge", "Scalar");
  const std::int64_t count = blocks.size(0);
  const auto dropped = static_cast<std::int64_t>(share * static_cast<double>(count));
  const Tensor kept = ops::reshape(ops::to(ge({randperm({count}), dropped}), blocks.dtype()), {count, 1, 1});
  const Tensor one = identity(blocks.size(1), blocks);
  return one + (blocks - one) * ops::to_device_of(kept, blocks);
}

Tensor times_blocks(const Tensor& x, const Tensor& blocks) {
  static const Op bmm("aten::bmm");
  const std::int64_t rows = x.size(0), in = x.size(1), b = blocks.size(1);
  if (blocks.size(0) == 1) {
    const Tensor parts = ops::reshape(x, {rows * (in / b), b});
    return ops::reshape(ops::mm(parts, ops::select(blocks, 0, 0)), {rows, in});
  }
  const Tensor split = ops::transpose(ops::reshape(x, {rows, in / b, b}), 0, 1);
  return ops::reshape(ops::transpose(bmm({split, blocks}), 0, 1), {rows, in});
}

}  // namespace oft
