// SPDX-License-Identifier: Apache-2.0
#include "model/int8_weight.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "model/autocast.h"

namespace graft::model {
namespace {

constexpr double kLargest = 127.0;

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Int8Linear : torch::autograd::Function<Int8Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& values,
                            const at::Tensor& scales, const std::optional<at::Tensor>& bias) {
    const at::ScalarType dtype = autocast_dtype(x.device().type()).value_or(x.scalar_type());
    context->save_for_backward({values, scales});
    context->saved_data["dtype"] = static_cast<std::int64_t>(dtype);
    context->saved_data["x_dtype"] = static_cast<std::int64_t>(x.scalar_type());
    const AutocastScope as_written(x.device().type(), std::nullopt);
    context->saved_data["has_bias"] = bias.has_value();
    return at::linear(x.to(dtype), from_int8({values, scales}, dtype),
                      bias ? std::optional<at::Tensor>(bias->to(dtype)) : std::nullopt);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    const auto x_dtype = static_cast<at::ScalarType>(context->saved_data["x_dtype"].toInt());
    const bool trains_bias = context->saved_data["has_bias"].toBool() && context->needs_input_grad(3);
    const at::Tensor grad = at::matmul(grads[0].to(dtype), from_int8({saved[0], saved[1]}, dtype));
    return {grad.to(x_dtype), at::Tensor(), at::Tensor(), trains_bias ? grads[0].sum(0) : at::Tensor()};
  }
};

}  // namespace

Int8Weight to_int8(const at::Tensor& weight) {
  const at::NoGradGuard no_grad;
  const at::Tensor dense = weight.to(at::kFloat);
  const at::Tensor largest = at::amax(dense.abs(), {1});
  const at::Tensor scales = at::where(largest.gt(0.0), largest.div(kLargest), 1.0);
  return {dense.div(scales.unsqueeze(1)).round().clamp(-kLargest, kLargest).to(at::kChar),
          scales.to(at::kFloat)};
}

at::Tensor from_int8(const Int8Weight& weight, at::ScalarType dtype) {
  return weight.values.to(at::kFloat).mul_(weight.scales.unsqueeze(1)).to(dtype);
}

at::Tensor int8_linear(const at::Tensor& x, const Int8Weight& weight, const at::Tensor& bias) {
  const auto optional = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  return Int8Linear::apply(x, weight.values, weight.scales, optional);
}

}  // namespace graft::model
