// SPDX-License-Identifier: Apache-2.0
// VeRA, after PEFT's tests/test_vera.py.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/error.h"
#include "tests/adapt/strategy_layer.h"

namespace graft::adapt {
namespace {

using test::StrategyLayer;

// PEFT: test_multiple_adapters_same_prng_weights.
TEST(Vera, TheSameKeyGivesTheSameMatricesAndAnotherKeyOthers) {
  const auto matrices = [](int key) {
    const StrategyLayer layer("vera", {{"r", 4}, {"projection_prng_key", key}});
    return std::vector<at::Tensor>{layer.param("vera_A"), layer.param("vera_B")};
  };
  const auto first = matrices(5), again = matrices(5), other = matrices(6);
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(at::equal(first[i], again[i]));
    EXPECT_FALSE(at::allclose(first[i], other[i]));
  }
}

TEST(Vera, TheMatricesAreThoseThatTorchDrawsOnTheCpu) {
  const StrategyLayer layer("vera", {{"r", 40}, {"projection_prng_key", 1234}}, {50, 30});
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1234);
  const auto draw = [&](std::int64_t rows, std::int64_t columns) {
    const double bound = std::sqrt(3.0) * (std::sqrt(2.0) / std::sqrt(static_cast<double>(columns)));
    return at::empty({rows, columns}).uniform_(-bound, bound, generator);
  };
  EXPECT_TRUE(at::equal(layer.param("vera_A"), draw(40, 50)));
  EXPECT_TRUE(at::equal(layer.param("vera_B"), draw(30, 40)));
}

// PEFT: test_vera_different_shapes.
TEST(Vera, LayersOfDifferentShapesShareMatricesOfTheLargestSize) {
  const Strategy strategy(test::registry_of("vera"), "vera", {{"r", 3}});
  const std::vector<model::Site> sites = {{"wide", 0, -1, GRAFT_COMPONENT_LANGUAGE, 20, 5},
                                          {"tall", 1, -1, GRAFT_COMPONENT_LANGUAGE, 7, 30}};
  const auto shared = strategy.plan_model({{&sites[0], {}}, {&sites[1], {}}});
  ASSERT_EQ(shared.size(), 2u);
  EXPECT_EQ(shared[0].sizes, (std::vector<std::int64_t>{3, 20}));
  EXPECT_EQ(shared[1].sizes, (std::vector<std::int64_t>{30, 3}));
  EXPECT_TRUE(shared[0].is_saved && !shared[0].is_trained);
  const Strategy keyed(test::registry_of("vera"), "vera", {{"save_projection", false}});
  EXPECT_FALSE(keyed.plan_model({{&sites[0], {}}})[0].is_saved);
}

}  // namespace
}  // namespace graft::adapt
