// SPDX-License-Identifier: Apache-2.0
#include "common/weight_update.h"

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/tensors.h"

namespace peft {

namespace ops = graft::ops;
using graft::DType;
using graft::Tensor;

namespace {

// What backward needs beside the saved tensors x, W and p.
struct Node {
  const WeightUpdate* update;
  bool adds_weight;  // y = x (W + ΔW)ᵀ, else x ΔWᵀ
  bool skips_input;  // x needs no gradient
};

// ΔW, or W + ΔW, in `dtype`.
Tensor matrix(const Node& node, const Tensor& weight, const Tensors& params, DType dtype) {
  static const graft::Op add("aten::add_", "Tensor");
  const Tensor delta = node.update->delta(weight, params);
  return in_dtype(node.adds_weight ? add({delta, weight}) : delta, dtype);
}

graft_status backward(void* user, const graft_tensor* saved, std::uint32_t n_saved,
                      const graft_tensor* grad_out, std::uint32_t, graft_tensor* grad_in, std::uint32_t,
                      graft_error* error) {
  return graft::guard(error, [&] {
    if (grad_out[0] == nullptr) return;
    const Node& node = *static_cast<const Node*>(user);
    const Tensor grad = Tensor::share(grad_out[0]), x = Tensor::share(saved[0]),
                 weight = Tensor::share(saved[1]);
    Tensors params;
    for (std::uint32_t i = 2; i < n_saved; ++i) params.push_back(Tensor::share(saved[i]));
    Tensor grad_x;
    if (!node.skips_input) grad_x = ops::mm(grad, matrix(node, weight, params, grad.dtype()));
    const Tensor grad_delta = in_dtype(ops::mm(ops::t(grad), x), DType::kFloat32);
    Tensors grads = node.update->gradients(weight, params, grad_delta);
    grad_in[0] = grad_x.release();
    for (std::size_t i = 0; i < grads.size(); ++i) grad_in[1 + i] = grads[i].release();
  });
}

// x Mᵀ + b for the matrix M of the node, with `backward` as its derivative.
Tensor apply(const Node& node, const Tensor& x, const Tensor& weight, const Tensors& params,
             const Tensor& bias) {
  graft_tensor y = nullptr;
  {
    const graft::GradMode off(false);
    y = ops::linear(x, matrix(node, weight, params, x.dtype()), bias).release();
  }
  std::vector<graft_tensor> inputs = {x.get()}, saved = {x.get(), weight.get()};
  for (const Tensor& param : params) {
    inputs.push_back(param.get());
    saved.push_back(param.get());
  }
  auto kept = std::make_unique<Node>(node);
  graft_backward table{GRAFT_HDR(graft_backward), kept.get(), &backward,
                       [](void* user) { delete static_cast<Node*>(user); }};
  const auto& service = graft::detail::autograd_service();
  Tensor owned;
  try {
    graft::check([&](graft_error* error) {
      return service.attach(&service, inputs.data(), static_cast<std::uint32_t>(inputs.size()), saved.data(),
                            static_cast<std::uint32_t>(saved.size()), &y, 1, &table, error);
    });
  } catch (...) {
    owned = Tensor::adopt(y);  // nothing was consumed
    throw;
  }
  static_cast<void>(kept.release());  // the host drops it
  return Tensor::adopt(y);
}

}  // namespace

Tensor updated_linear(const graft::LinearCall& call, const WeightUpdate& update, double dropout,
                      const Tensors& constants) {
  Tensors params;
  for (std::size_t i = 0; i < call.n_params(); ++i) params.push_back(call.param(i));
  params.insert(params.end(), constants.begin(), constants.end());
  const Tensor weight = call.weight();
  const Tensor& x = call.x();
  Node node{&update, true, x.info().requires_grad == 0};
  const bool drops = call.is_training() && dropout > 0.0;
  const Tensor nothing = ops::narrow(x, 0, 0, 0);
  const bool is_float32 =
      x.dtype() == DType::kFloat32 && weight.dtype() == DType::kFloat32 &&
      ops::mm(nothing, ops::t(nothing)).dtype() == DType::kFloat32;  // else autocast is on
  if (is_float32 && !drops) return apply(node, x, weight, params, call.bias());
  node.adds_weight = false;
  const Tensor base = call.base(x);
  const Tensor y = base + apply(node, adapter_input(call, base.dtype(), dropout), weight, params, Tensor());
  return in_dtype(y, base.dtype());
}

}  // namespace peft
