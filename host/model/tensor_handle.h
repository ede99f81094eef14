// SPDX-License-Identifier: Apache-2.0
// Tensors and dtypes as plugins see them. A graft_tensor is the address of a TensorImpl, so handing a tensor
// over costs a reference count at most and never an allocation. NULL stands for an undefined tensor.
#pragma once

#include <ATen/core/Tensor.h>
#include <graft/abi.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace graft::model {

using TensorPointer = c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>;

// A handle for the time of a call; `tensor` must outlive it.
inline graft_tensor lend(const at::Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<graft_tensor>(tensor.unsafeGetTensorImpl()) : nullptr;
}

// A handle that owns one reference: the receiver releases it (or take()s it back).
inline graft_tensor give(at::Tensor tensor) {
  if (!tensor.defined()) return nullptr;
  return reinterpret_cast<graft_tensor>(tensor.unsafeReleaseIntrusivePtr().release());
}

// The tensor of an owning handle, which is consumed.
inline at::Tensor take(graft_tensor handle) {
  if (handle == nullptr) return {};
  return at::Tensor(TensorPointer::reclaim(reinterpret_cast<at::TensorImpl*>(handle)));
}

// One more reference to the tensor of a borrowed handle.
inline at::Tensor share(graft_tensor handle) {
  if (handle == nullptr) return {};
  return at::Tensor(TensorPointer::reclaim_copy(reinterpret_cast<at::TensorImpl*>(handle)));
}

// GRAFT_FLOAT32 … to the dtype; GRAFT_DTYPE_DEFAULT is float32. Throws std::invalid_argument for an unknown
// code.
[[nodiscard]] at::ScalarType dtype_of_code(std::int64_t code);
// The code of a dtype, -1 for one that the ABI does not know (complex, quantised, float8 …).
[[nodiscard]] std::int32_t code_of_dtype(at::ScalarType dtype);

// "float32", "bfloat16", "float16", "float64", as configurations and config.json write them; UserError for
// other words.
[[nodiscard]] at::ScalarType dtype_of_name(std::string_view name);
// The inverse; the lower-case name of any dtype.
[[nodiscard]] std::string_view name_of_dtype(at::ScalarType dtype);

}  // namespace graft::model
