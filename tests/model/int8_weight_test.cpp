// SPDX-License-Identifier: Apache-2.0
#include "model/int8_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "model/autocast.h"

namespace graft::model {
namespace {

TEST(Int8Weight, RoundsToTheNearestStepOfEachRow) {
  const at::Tensor weight = at::randn({6, 40}) * at::randn({6, 1});
  const Int8Weight rounded = to_int8(weight);
  EXPECT_EQ(rounded.values.scalar_type(), at::kChar);
  const at::Tensor error = (from_int8(rounded, at::kFloat) - weight).abs();
  EXPECT_TRUE(error.le(rounded.scales.unsqueeze(1) * 0.5001).all().item<bool>());
  EXPECT_TRUE(at::allclose(rounded.scales * 127.0, std::get<0>(weight.abs().max(1)), 1e-6, 0.0));
}

TEST(Int8Weight, RowsOfZerosStayZero) {
  const at::Tensor weight = at::randn({3, 5});
  weight[1].zero_();
  const at::Tensor back = from_int8(to_int8(weight), at::kFloat);
  EXPECT_TRUE(back[1].eq(0.0).all().item<bool>());
  EXPECT_TRUE(back.isfinite().all().item<bool>());
}

TEST(Int8Linear, EqualsTheLinearLayerOfTheRoundedWeightWithItsGradient) {
  const Int8Weight weight = to_int8(at::randn({4, 6}));
  const at::Tensor dense = from_int8(weight, at::kFloat), bias = at::randn({4});
  const at::Tensor x = at::randn({5, 6}).requires_grad_(), same = x.detach().clone().requires_grad_();
  const at::Tensor y = int8_linear(x, weight, bias), expected = at::linear(same, dense, bias);
  EXPECT_TRUE(at::equal(y, expected));
  const at::Tensor grad = at::randn({5, 4});
  (y * grad).sum().backward();
  (expected * grad).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), same.grad(), 1e-6, 1e-6));
  EXPECT_TRUE(at::equal(int8_linear(x, weight, {}), at::linear(same, dense)));
}

TEST(Int8Linear, ComputesInThePrecisionOfAutocast) {
  const Int8Weight weight = to_int8(at::randn({4, 6}));
  const at::Tensor x = at::randn({5, 6}).requires_grad_();
  at::Tensor y;
  {
    const AutocastScope scope(at::kCPU, at::kBFloat16);
    y = int8_linear(x, weight, {});
  }
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(y, at::linear(x.to(at::kBFloat16), from_int8(weight, at::kBFloat16))));
  y.to(at::kFloat).sum().backward();
  EXPECT_EQ(x.grad().scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace graft::model
