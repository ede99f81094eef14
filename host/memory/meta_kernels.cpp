// SPDX-License-Identifier: Apache-2.0
#include "memory/meta_kernels.h"

#include <ATen/ExpandUtils.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/result_type.h>
#include <torch/library.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace graft::memory {

namespace {

using at::Tensor;
using Three = std::tuple<Tensor, Tensor, Tensor>;

// One of the operands may have values: positions, for example, are on the CPU.
at::TensorOptions on_meta(const Tensor& like) {
  return like.options().device(at::kMeta);
}

Tensor index_select(const Tensor& self, std::int64_t dim, const Tensor& index) {
  std::vector<std::int64_t> sizes = self.sizes().vec();
  sizes[static_cast<std::size_t>(dim < 0 ? dim + self.dim() : dim)] = index.numel();
  return at::empty(sizes, on_meta(self));
}

Tensor embedding_dense_backward(const Tensor& grad, const Tensor& /*indices*/, std::int64_t num_weights,
                                std::int64_t /*padding_idx*/, bool /*scale_grad_by_freq*/) {
  return at::empty({num_weights, grad.size(-1)}, grad.options());
}

Tensor where(const Tensor& condition, const Tensor& self, const Tensor& other) {
  const auto sizes = at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes()));
  return at::empty(sizes, on_meta(condition).dtype(at::result_type(self, other)));
}

Tensor abs(const Tensor& self) {
  return at::empty_like(self);
}

Tensor& abs_out(const Tensor& self, Tensor& out) {
  out.resize_(self.sizes());
  return out;
}

// One mean and one inverse deviation for each row.
Three native_layer_norm(const Tensor& input, at::IntArrayRef normalized,
                        const std::optional<Tensor>& /*weight*/, const std::optional<Tensor>& /*bias*/,
                        double /*eps*/) {
  std::vector<std::int64_t> rows = input.sizes().vec();
  for (std::size_t i = rows.size() - normalized.size(); i < rows.size(); ++i) rows[i] = 1;
  return {at::empty_like(input), at::empty(rows, input.options()), at::empty(rows, input.options())};
}

Three native_layer_norm_backward(const Tensor& grad, const Tensor& input, at::IntArrayRef /*normalized*/,
                                 const Tensor& /*mean*/, const Tensor& /*rstd*/,
                                 const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
                                 std::array<bool, 3> wanted) {
  return {wanted[0] ? at::empty_like(grad, input.options()) : Tensor(),
          wanted[1] && weight ? at::empty_like(*weight) : Tensor(),
          wanted[2] && bias ? at::empty_like(*bias) : Tensor()};
}

// As the CPU's kernel lays them out: [B, L, H, d] seen as [B, H, L, d].
Tensor heads_inside(const Tensor& like) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options()).transpose(1, 2);
}

std::tuple<Tensor, Tensor> flash_attention(const Tensor& q, const Tensor& /*k*/, const Tensor& /*v*/,
                                           double /*dropout*/, bool /*is_causal*/,
                                           const std::optional<Tensor>& /*mask*/,
                                           std::optional<double> /*scale*/) {
  const auto precision = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(precision));
  return {heads_inside(q), lse.transpose(1, 2)};
}

Three flash_attention_backward(const Tensor& /*grad*/, const Tensor& q, const Tensor& k, const Tensor& v,
                               const Tensor& /*out*/, const Tensor& /*lse*/, double /*dropout*/,
                               bool /*is_causal*/, const std::optional<Tensor>& /*mask*/,
                               std::optional<double> /*scale*/) {
  return {heads_inside(q), heads_inside(k), heads_inside(v)};
}

class Registration {
 public:
  Registration() : library_(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__) {
    add("index_select", "", &index_select);
    add("embedding_dense_backward", "", &embedding_dense_backward);
    add("where", "self", &where);
    add("abs", "", &abs);
    add("abs", "out", &abs_out);
    add("native_layer_norm", "", &native_layer_norm);
    add("native_layer_norm_backward", "", &native_layer_norm_backward);
    add("_scaled_dot_product_flash_attention_for_cpu", "", &flash_attention);
    add("_scaled_dot_product_flash_attention_for_cpu_backward", "", &flash_attention_backward);
  }

 private:
  template <typename Function>
  void add(const char* name, const char* overload, Function* kernel) {
    const auto op =
        c10::Dispatcher::singleton().findSchemaOrThrow((std::string("aten::") + name).c_str(), overload);
    if (op.hasKernelForDispatchKey(c10::DispatchKey::Meta)) return;
    const std::string full = *overload == '\0' ? name : std::string(name) + '.' + overload;
    library_.impl(full.c_str(), torch::CppFunction::makeFromUnboxedFunction(kernel));
  }

  torch::Library library_;
};

}  // namespace

void register_meta_kernels() {
  static const auto* const kept = new Registration();  // for the process: graphs may outlive everything else
  (void)kept;
}

}  // namespace graft::memory
