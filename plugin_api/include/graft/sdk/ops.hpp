// SPDX-License-Identifier: Apache-2.0
// graft/sdk/ops.hpp: the usual ATen operators as functions; names, arguments and semantics are ATen's.
// Included by tensor.hpp. Operators that are not here are called through graft::Op.
#ifndef GRAFT_SDK_OPS_HPP
#define GRAFT_SDK_OPS_HPP

#include <graft/sdk/tensor.hpp>

namespace graft::ops {

using Sizes = std::initializer_list<std::int64_t>;

// Any operator by name. Looks it up on each call: use a static Op where it matters.
inline Tensor call(std::string_view name, std::string_view overload, std::initializer_list<Value> arguments) {
  return Op(name, overload)(arguments);
}

// ---- arithmetic, elementwise, with broadcasting -----------------------------------------------------------

#define GRAFT_SDK_BINARY(function)                           \
  inline Tensor function(const Tensor& a, const Tensor& b) { \
    static const Op op("aten::" #function, "Tensor");        \
    return op({a, b});                                       \
  }                                                          \
  inline Tensor function(const Tensor& a, double b) {        \
    static const Op op("aten::" #function, "Scalar");        \
    return op({a, b});                                       \
  }
GRAFT_SDK_BINARY(add)
GRAFT_SDK_BINARY(sub)
GRAFT_SDK_BINARY(mul)
GRAFT_SDK_BINARY(div)
#undef GRAFT_SDK_BINARY

#define GRAFT_SDK_UNARY(function)           \
  inline Tensor function(const Tensor& x) { \
    static const Op op("aten::" #function); \
    return op({x});                         \
  }
GRAFT_SDK_UNARY(neg)
GRAFT_SDK_UNARY(abs)
GRAFT_SDK_UNARY(exp)
GRAFT_SDK_UNARY(log)
GRAFT_SDK_UNARY(sqrt)
GRAFT_SDK_UNARY(rsqrt)
GRAFT_SDK_UNARY(cos)
GRAFT_SDK_UNARY(sin)
GRAFT_SDK_UNARY(tanh)
GRAFT_SDK_UNARY(sigmoid)
GRAFT_SDK_UNARY(relu)
GRAFT_SDK_UNARY(silu)
GRAFT_SDK_UNARY(detach)
GRAFT_SDK_UNARY(t)  // transpose of a matrix
#undef GRAFT_SDK_UNARY

// "none" is the exact function, "tanh" its approximation.
inline Tensor gelu(const Tensor& x, std::string_view approximate = "none") {
  static const Op op("aten::gelu");
  return op({x, approximate});
}
inline Tensor pow(const Tensor& x, double exponent) {
  static const Op op("aten::pow", "Tensor_Scalar");
  return op({x, exponent});
}
// a + alpha · b in one kernel
inline Tensor add_scaled(const Tensor& a, const Tensor& b, double alpha) {
  static const Op op("aten::add", "Tensor");
  return op({a, b, alpha});
}
inline Tensor dropout(const Tensor& x, double p, bool is_training) {
  static const Op op("aten::dropout");
  return op({x, p, is_training});
}

// ---- products, reductions, norms --------------------------------------------------------------------------

inline Tensor matmul(const Tensor& a, const Tensor& b) {
  static const Op op("aten::matmul");
  return op({a, b});
}
inline Tensor mm(const Tensor& a, const Tensor& b) {
  static const Op op("aten::mm");
  return op({a, b});
}
// x Wᵀ + b; the bias may be an empty handle
inline Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
  static const Op op("aten::linear");
  return op({x, weight, bias});
}
inline Tensor sum(const Tensor& x, Sizes dims, bool keepdim = false) {
  static const Op op("aten::sum", "dim_IntList");
  return op({x, dims, keepdim});
}
inline Tensor mean(const Tensor& x, Sizes dims, bool keepdim = false) {
  static const Op op("aten::mean", "dim");
  return op({x, dims, keepdim});
}
inline Tensor softmax(const Tensor& x, std::int64_t dim) {
  static const Op op("aten::softmax", "int");
  return op({x, dim});
}
// Over the last dimension: x / sqrt(mean(x²) + eps) · weight; sums in float32.
inline Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  static const Op op("aten::rms_norm");
  return op({x, weight.sizes(), weight, eps});
}

// ---- shapes: views where possible -------------------------------------------------------------------------

inline Tensor view(const Tensor& x, Sizes sizes) {
  static const Op op("aten::view");
  return op({x, sizes});
}
inline Tensor reshape(const Tensor& x, Sizes sizes) {
  static const Op op("aten::reshape");
  return op({x, sizes});
}
inline Tensor flatten(const Tensor& x, std::int64_t first, std::int64_t last) {
  static const Op op("aten::flatten", "using_ints");
  return op({x, first, last});
}
inline Tensor permute(const Tensor& x, Sizes dims) {
  static const Op op("aten::permute");
  return op({x, dims});
}
inline Tensor transpose(const Tensor& x, std::int64_t a, std::int64_t b) {
  static const Op op("aten::transpose", "int");
  return op({x, a, b});
}
inline Tensor unsqueeze(const Tensor& x, std::int64_t dim) {
  static const Op op("aten::unsqueeze");
  return op({x, dim});
}
inline Tensor squeeze(const Tensor& x, std::int64_t dim) {
  static const Op op("aten::squeeze", "dim");
  return op({x, dim});
}
inline Tensor expand(const Tensor& x, Sizes sizes) {
  static const Op op("aten::expand");
  return op({x, sizes});
}
inline Tensor narrow(const Tensor& x, std::int64_t dim, std::int64_t start, std::int64_t length) {
  static const Op op("aten::narrow");
  return op({x, dim, start, length});
}
inline Tensor slice(const Tensor& x, std::int64_t dim, std::int64_t start, std::int64_t end,
                    std::int64_t step = 1) {
  static const Op op("aten::slice", "Tensor");
  return op({x, dim, start, end, step});
}
inline Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index) {
  static const Op op("aten::select", "int");
  return op({x, dim, index});
}
template <std::size_t N>
std::array<Tensor, N> unbind(const Tensor& x, std::int64_t dim) {  // N: the size of that dimension
  static const Op op("aten::unbind", "int");
  return op.many<N>({x, dim});
}
template <std::size_t N>
std::array<Tensor, N> chunk(const Tensor& x, std::int64_t dim) {  // N equal parts
  static const Op op("aten::chunk");
  return op.many<N>({x, static_cast<std::int64_t>(N), dim});
}
template <std::size_t N>
std::array<Tensor, N> split(const Tensor& x, Sizes sizes, std::int64_t dim) {  // N parts of these sizes
  static const Op op("aten::split_with_sizes");
  return op.many<N>({x, sizes, dim});
}
inline Tensor cat(std::initializer_list<Tensor> list, std::int64_t dim) {
  static const Op op("aten::cat");
  std::vector<graft_tensor> raw;
  for (const Tensor& tensor : list) raw.push_back(tensor.get());
  return op({Value::tensors(raw.data(), raw.size()), dim});
}
inline Tensor cat(const std::vector<Tensor>& list, std::int64_t dim) {
  static const Op op("aten::cat");
  std::vector<graft_tensor> raw;
  for (const Tensor& tensor : list) raw.push_back(tensor.get());
  return op({Value::tensors(raw.data(), raw.size()), dim});
}
inline Tensor stack(const std::vector<Tensor>& list, std::int64_t dim) {
  static const Op op("aten::stack");
  std::vector<graft_tensor> raw;
  for (const Tensor& tensor : list) raw.push_back(tensor.get());
  return op({Value::tensors(raw.data(), raw.size()), dim});
}
inline Tensor contiguous(const Tensor& x) {
  static const Op op("aten::contiguous");
  return op({x});
}
inline Tensor clone(const Tensor& x) {
  static const Op op("aten::clone");
  return op({x});
}

// ---- indexing ---------------------------------------------------------------------------------------------

inline Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& index) {
  static const Op op("aten::index_select");
  return op({x, dim, index});
}
inline Tensor embedding(const Tensor& weight, const Tensor& ids) {
  static const Op op("aten::embedding");
  return op({weight, ids});
}
// A copy of x whose slices `index` along dim are those of `source`.
inline Tensor index_copy(const Tensor& x, std::int64_t dim, const Tensor& index, const Tensor& source) {
  static const Op op("aten::index_copy");
  return op({x, dim, index, source});
}

// ---- dtypes, devices, new tensors -------------------------------------------------------------------------

inline Tensor to(const Tensor& x, DType dtype) {
  static const Op op("aten::to", "dtype");
  return op({x, dtype});
}
// On the device where `like` is.
inline Tensor to_device_of(const Tensor& x, const Tensor& like) {
  static const Op op("aten::to", "dtype_layout");
  const graft_tensor_info info = like.info();
  return op({x, nullptr, nullptr, Value::device(info.device, info.device_index)});
}
inline Tensor arange(std::int64_t end) {  // int64, CPU
  static const Op op("aten::arange");
  return op({end, DType::kInt64});
}
// Of the dtype and device of `like`.
inline Tensor new_zeros(const Tensor& like, Sizes sizes) {
  static const Op op("aten::new_zeros");
  return op({like, sizes});
}
inline Tensor new_ones(const Tensor& like, Sizes sizes) {
  static const Op op("aten::new_ones");
  return op({like, sizes});
}

// Antialiased bicubic interpolation of [N, C, H, W] (float32 or uint8) to height × width.
inline Tensor upsample_bicubic2d_aa(const Tensor& image, std::int64_t height, std::int64_t width) {
  static const Op op("aten::_upsample_bicubic2d_aa");
  return op({image, {height, width}, false});
}

}  // namespace graft::ops

namespace graft {

inline Tensor operator+(const Tensor& a, const Tensor& b) {
  return ops::add(a, b);
}
inline Tensor operator-(const Tensor& a, const Tensor& b) {
  return ops::sub(a, b);
}
inline Tensor operator*(const Tensor& a, const Tensor& b) {
  return ops::mul(a, b);
}
inline Tensor operator/(const Tensor& a, const Tensor& b) {
  return ops::div(a, b);
}
inline Tensor operator+(const Tensor& a, double b) {
  return ops::add(a, b);
}
inline Tensor operator-(const Tensor& a, double b) {
  return ops::sub(a, b);
}
inline Tensor operator*(const Tensor& a, double b) {
  return ops::mul(a, b);
}
inline Tensor operator/(const Tensor& a, double b) {
  return ops::div(a, b);
}

}  // namespace graft

#endif
