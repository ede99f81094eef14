// SPDX-License-Identifier: Apache-2.0
#include "common/tensors.h"

namespace peft {

namespace ops = graft::ops;
using graft::Op;
using graft::Tensor;

Tensor in_dtype(const Tensor& x, graft::DType dtype) {
  return x.dtype() == dtype ? x : ops::to(x, dtype);
}

void assign(const Tensor& to, const Tensor& from) {
  static const Op op("aten::copy_");
  op({to, from});
}

Tensor on_cpu(const Tensor& x) {
  static const Op to("aten::to", "dtype_layout");
  return ops::contiguous(to({x, nullptr, nullptr, graft::Value::device(GRAFT_DEVICE_CPU, 0)}));
}

Tensor transposed(const Tensor& b) {
  return ops::contiguous(ops::t(b));
}

Tensor adapter_input(const graft::LinearCall& call, graft::DType dtype, double dropout) {
  const Tensor x = in_dtype(call.x(), dtype);
  return call.is_training() && dropout > 0.0 ? ops::dropout(x, dropout, true) : x;
}

Tensor add_product(const Tensor& base, const Tensor& a, const Tensor& b, double scale) {
  static const Op op("aten::addmm");
  return op({in_dtype(base, a.dtype()), a, b, 1.0, scale});
}

Tensor add_elementwise(const Tensor& base, const Tensor& a, const Tensor& b) {
  static const Op op("aten::addcmul");
  return op({base, a, b});
}

}  // namespace peft
