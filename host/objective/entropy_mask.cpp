// SPDX-License-Identifier: Apache-2.0
#include "objective/entropy_mask.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/kthvalue.h>
#include <ATen/ops/quantile.h>

#include <limits>
#include <tuple>

namespace graft::objective {

namespace {

constexpr std::int64_t kLargestQuantileInput = 16'000'000;  // at::quantile refuses more

}  // namespace

double entropy_threshold(std::span<const at::Tensor> entropies, double top) {
  const at::NoGradGuard no_grad;
  const at::Tensor all = at::cat(at::TensorList(entropies.data(), entropies.size())).to(at::kFloat);
  if (all.numel() == 0) return std::numeric_limits<double>::infinity();
  if (all.numel() <= kLargestQuantileInput) return at::quantile(all, 1.0 - top).item<double>();
  const auto rank = static_cast<std::int64_t>((1.0 - top) * static_cast<double>(all.numel() - 1));
  return std::get<0>(at::kthvalue(all, rank + 1)).item<double>();
}

}  // namespace graft::objective
