// SPDX-License-Identifier: Apache-2.0
#include "common/torch_random.h"

#include <cmath>
#include <cstddef>

namespace peft {

namespace {

std::vector<float> storage(const std::vector<std::int64_t>& sizes) {
  std::size_t count = 1;
  for (const std::int64_t size : sizes) count *= static_cast<std::size_t>(size);
  return std::vector<float>(count);
}

graft::Tensor tensor(const std::vector<std::int64_t>& sizes, const std::vector<float>& values) {
  return graft::Tensor::from_data(graft::DType::kFloat32, sizes.data(),
                                  static_cast<std::uint32_t>(sizes.size()), values.data());
}

}  // namespace

graft::Tensor TorchGenerator::uniform(const std::vector<std::int64_t>& sizes, double from, double to) {
  // at::uniform_real_distribution<float> (ATen/core/DistributionsHelper.h): the low 24 bits of a draw, as a part of the interval.
  // torch's kernels contract the last line to a fused multiply-add on every processor that has one.
  constexpr std::uint32_t kMask = (1U << 24) - 1;
  constexpr float kUnit = 1.0F / (1U << 24);
  const auto low = static_cast<float>(from), high = static_cast<float>(to);
  std::vector<float> values = storage(sizes);
  for (float& value : values) {
    const float unit = static_cast<float>(engine_() & kMask) * kUnit;
    value = std::fma(unit, high - low, low);
  }
  return tensor(sizes, values);
}

graft::Tensor TorchGenerator::uniform_bfloat16(const std::vector<std::int64_t>& sizes, double bound) {
  // at::uniform_real_distribution<BFloat16>: the interval in bfloat16, its low 8 random bits and the sum in float32, and the result
  // rounded to bfloat16.
  namespace ops = graft::ops;
  constexpr std::uint32_t kMask = (1U << 8) - 1;
  constexpr float kUnit = 1.0F / (1U << 8);
  const graft::Tensor rounded = ops::to(
      ops::to(graft::Tensor::from(std::vector<float>{static_cast<float>(bound)}), graft::DType::kBFloat16),
      graft::DType::kFloat32);
  const float high = *rounded.data<float>();
  std::vector<float> values = storage(sizes);
  for (float& value : values) {
    const float unit = static_cast<float>(engine_() & kMask) * kUnit;
    value = std::fma(unit, 2.0F * high, -high);
  }
  return ops::to(tensor(sizes, values), graft::DType::kBFloat16);
}

graft::Tensor kaiming_uniform(TorchGenerator& generator, std::int64_t rows, std::int64_t columns) {
  const double deviation = std::sqrt(2.0) / std::sqrt(static_cast<double>(columns));
  return generator.uniform({rows, columns}, std::sqrt(3.0) * deviation);
}

}  // namespace peft
