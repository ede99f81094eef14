// SPDX-License-Identifier: Apache-2.0
#include "common/torch_random.h"

#include <cmath>
#include <cstddef>

namespace peft {

graft::Tensor TorchGenerator::uniform(const std::vector<std::int64_t>& sizes, double bound) {
  // at::uniform_real_distribution<float> (ATen/core/DistributionsHelper.h): the low 24 bits of a draw, as a part of the interval.
  // torch's kernels contract the last line to a fused multiply-add on every processor that has one.
  constexpr std::uint32_t kMask = (1U << 24) - 1;
  constexpr float kUnit = 1.0F / (1U << 24);
  const auto from = static_cast<float>(-bound), to = static_cast<float>(bound);
  std::size_t count = 1;
  for (const std::int64_t size : sizes) count *= static_cast<std::size_t>(size);
  std::vector<float> values(count);
  for (float& value : values) {
    const float unit = static_cast<float>(engine_() & kMask) * kUnit;
    value = std::fma(unit, to - from, from);
  }
  return graft::Tensor::from_data(graft::DType::kFloat32, sizes.data(),
                                  static_cast<std::uint32_t>(sizes.size()), values.data());
}

graft::Tensor kaiming_uniform(TorchGenerator& generator, std::int64_t rows, std::int64_t columns) {
  const double deviation = std::sqrt(2.0) / std::sqrt(static_cast<double>(columns));
  return generator.uniform({rows, columns}, std::sqrt(3.0) * deviation);
}

}  // namespace peft
