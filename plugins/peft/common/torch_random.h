// SPDX-License-Identifier: Apache-2.0
// Random numbers as torch draws them on the CPU, for methods whose files hold a seed in place of the values.
#pragma once

#include <graft/sdk/tensor.hpp>

#include <cstdint>
#include <random>
#include <vector>

namespace peft {

// torch.Generator("cpu").manual_seed(seed): a Mersenne Twister with the low 32 bits of the seed.
class TorchGenerator {
 public:
  explicit TorchGenerator(std::int64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {}

  // torch.empty(sizes).uniform_(-bound, bound, generator=…) in float32, bit for bit; a CPU tensor.
  [[nodiscard]] graft::Tensor uniform(const std::vector<std::int64_t>& sizes, double bound) {
    return uniform(sizes, -bound, bound);
  }
  // torch.rand(sizes, generator=…), bit for bit; a CPU tensor.
  [[nodiscard]] graft::Tensor unit(const std::vector<std::int64_t>& sizes) {
    return uniform(sizes, 0.0, 1.0);
  }
  // torch.randn(sizes, dtype=…, generator=…) of at least 16 elements in float32 or float64, up to the rounding of the logarithm, sine
  // and cosine; a CPU tensor.
  [[nodiscard]] graft::Tensor normal(const std::vector<std::int64_t>& sizes, graft::DType dtype);
  // As uniform() of a bfloat16 tensor, which has 8 random bits an element.
  [[nodiscard]] graft::Tensor uniform_bfloat16(const std::vector<std::int64_t>& sizes, double bound);

 private:
  [[nodiscard]] graft::Tensor uniform(const std::vector<std::int64_t>& sizes, double from, double to);
  [[nodiscard]] double unit_draw(graft::DType dtype);

  std::mt19937 engine_;
};

// torch.nn.init.kaiming_uniform_ of a [rows, columns] matrix with the gain √2 of its default: U(±√(6 / columns)).
[[nodiscard]] graft::Tensor kaiming_uniform(TorchGenerator& generator, std::int64_t rows,
                                            std::int64_t columns);

}  // namespace peft
