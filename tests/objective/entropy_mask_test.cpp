// SPDX-License-Identifier: Apache-2.0
#include "objective/entropy_mask.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace graft::objective {
namespace {

double threshold(const std::vector<std::vector<double>>& parts, double top) {
  std::vector<at::Tensor> entropies;
  for (const auto& part : parts) entropies.push_back(at::tensor(part, at::kFloat));
  return entropy_threshold(entropies, top);
}

TEST(EntropyThreshold, IsTheQuantileOverAllParts) {
  EXPECT_FLOAT_EQ(static_cast<float>(threshold({{4.0, 1.0}, {3.0, 2.0, 5.0}}, 0.25)), 4.0F);
  EXPECT_FLOAT_EQ(static_cast<float>(threshold({{1.0, 2.0}, {3.0, 4.0}}, 0.5)), 2.5F) << "between neighbours";
}

TEST(EntropyThreshold, OfTheWholeShareIsTheSmallest) {
  EXPECT_EQ(threshold({{3.0, 1.0, 2.0}}, 1.0), 1.0);
}

TEST(EntropyThreshold, KeepsNothingOfNothing) {
  EXPECT_TRUE(std::isinf(threshold({{}}, 0.5)));
}

}  // namespace
}  // namespace graft::objective
