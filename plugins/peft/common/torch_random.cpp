// SPDX-License-Identifier: Apache-2.0
#include "common/torch_random.h"

#include <algorithm>
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

double TorchGenerator::unit_draw(graft::DType dtype) {
  if (dtype == graft::DType::kFloat32) return static_cast<double>(engine_() & ((1U << 24) - 1)) / (1U << 24);
  const std::uint64_t high = engine_(), low = engine_();
  constexpr std::uint64_t kMask = (std::uint64_t{1} << 53) - 1;
  return static_cast<double>(((high << 32) | low) & kMask) / static_cast<double>(kMask + 1);
}

graft::Tensor TorchGenerator::normal(const std::vector<std::int64_t>& sizes, graft::DType dtype) {
  // normal_fill (ATen/native/cpu/DistributionTemplates.h): the Box–Muller transform in blocks of 16, the first half of each with the
  // second; a rest is made up to the last block, which is drawn anew.
  constexpr std::size_t kBlock = 16, kHalf = 8;
  constexpr double kTwoPi = 6.283185307179586;
  std::size_t count = 1;
  for (const std::int64_t size : sizes) count *= static_cast<std::size_t>(size);
  std::vector<double> values(std::max(count, kBlock));
  for (double& value : values) value = unit_draw(dtype);
  const auto transform = [](double* block) {
    for (std::size_t i = 0; i < kHalf; ++i) {
      const double radius = std::sqrt(-2.0 * std::log(1.0 - block[i])), angle = kTwoPi * block[i + kHalf];
      block[i] = radius * std::cos(angle);
      block[i + kHalf] = radius * std::sin(angle);
    }
  };
  for (std::size_t i = 0; i + kBlock <= values.size(); i += kBlock) transform(&values[i]);
  if (values.size() % kBlock != 0) {
    double* const last = &values[values.size() - kBlock];
    for (std::size_t i = 0; i < kBlock; ++i) last[i] = unit_draw(dtype);
    transform(last);
  }
  const auto rank = static_cast<std::uint32_t>(sizes.size());
  return graft::ops::to(graft::Tensor::from_data(graft::DType::kFloat64, sizes.data(), rank, values.data()),
                        dtype);
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
