// SPDX-License-Identifier: Apache-2.0
// graft/sdk/tensor.hpp: tensors and ATen operators for plugins, over the host's services. Nothing of LibTorch
// is included or linked; every call goes through the host's dispatcher and records autograd as usual.
//
//   graft::Tensor y = graft::ops::linear(x, weight);
//   y = y + graft::ops::mul(update, 0.5);
//   static const graft::Op cholesky("aten::linalg_cholesky");  // any operator by name; looked up once
//   graft::Tensor l = cholesky({matrix});
#ifndef GRAFT_SDK_TENSOR_HPP
#define GRAFT_SDK_TENSOR_HPP

#include <graft/tensor.h>
#include <graft/sdk/error.hpp>
#include <graft/sdk/plugin.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace graft {

enum class DType : std::int32_t {
  kFloat32 = GRAFT_FLOAT32,
  kFloat64 = GRAFT_FLOAT64,
  kFloat16 = GRAFT_FLOAT16,
  kBFloat16 = GRAFT_BFLOAT16,
  kUInt8 = GRAFT_UINT8,
  kInt8 = GRAFT_INT8,
  kInt16 = GRAFT_INT16,
  kInt32 = GRAFT_INT32,
  kInt64 = GRAFT_INT64,
  kBool = GRAFT_BOOL,
};

namespace detail {
inline const graft_ops& ops_service() {
  static const graft_ops& table = host().service<graft_ops>(GRAFT_SERVICE_OPS);
  return table;
}
inline const graft_tensor_data& data_service() {
  static const graft_tensor_data& table = host().service<graft_tensor_data>(GRAFT_SERVICE_TENSOR_DATA);
  return table;
}
inline const graft_autograd& autograd_service() {
  static const graft_autograd& table = host().service<graft_autograd>(GRAFT_SERVICE_AUTOGRAD);
  return table;
}
}  // namespace detail

// Sizes of a tensor; valid while the tensor lives.
class Shape {
 public:
  Shape(const std::int64_t* data, std::uint32_t rank) : data_(data), rank_(rank) {}
  [[nodiscard]] std::uint32_t rank() const { return rank_; }
  // Negative indices count from the end.
  [[nodiscard]] std::int64_t operator[](std::int64_t dim) const { return data_[dim < 0 ? dim + rank_ : dim]; }
  [[nodiscard]] const std::int64_t* begin() const { return data_; }
  [[nodiscard]] const std::int64_t* end() const { return data_ + rank_; }
  [[nodiscard]] std::int64_t count() const {
    std::int64_t product = 1;
    for (const std::int64_t size : *this) product *= size;
    return product;
  }
  [[nodiscard]] std::string text() const {  // "[2, 3]"
    std::string out = "[";
    for (const std::int64_t& size : *this) out += (&size == data_ ? "" : ", ") + std::to_string(size);
    return out + "]";
  }

 private:
  const std::int64_t* data_;
  std::uint32_t rank_;
};

// A shared handle of a tensor of the host. Copies share the tensor; an empty handle stands for "no tensor".
class Tensor {
 public:
  Tensor() = default;
  // Takes over one ownership, such as that of an output.
  [[nodiscard]] static Tensor adopt(graft_tensor raw) { return Tensor(raw); }
  // Shares a borrowed handle, such as an argument.
  [[nodiscard]] static Tensor share(graft_tensor raw) {
    if (raw != nullptr) detail::ops_service().retain(&detail::ops_service(), raw);
    return Tensor(raw);
  }
  // A contiguous CPU tensor with a copy of `data` (row-major), or zeros if that is null.
  [[nodiscard]] static Tensor from_data(DType dtype, const std::int64_t* sizes, std::uint32_t rank,
                                        const void* data) {
    graft_tensor raw = nullptr;
    const auto& service = detail::data_service();
    check([&](graft_error* error) {
      return service.create(&service, static_cast<std::int32_t>(dtype), sizes, rank, data, &raw, error);
    });
    return Tensor(raw);
  }
  [[nodiscard]] static Tensor from_data(DType dtype, std::initializer_list<std::int64_t> sizes,
                                        const void* data) {
    return from_data(dtype, sizes.begin(), static_cast<std::uint32_t>(sizes.size()), data);
  }
  [[nodiscard]] static Tensor from(const std::vector<std::int64_t>& values) {
    return from_data(DType::kInt64, {static_cast<std::int64_t>(values.size())}, values.data());
  }
  [[nodiscard]] static Tensor from(const std::vector<float>& values) {
    return from_data(DType::kFloat32, {static_cast<std::int64_t>(values.size())}, values.data());
  }

  Tensor(const Tensor& other) : Tensor(share(other.raw_)) {}
  Tensor(Tensor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Tensor() {
    if (raw_ != nullptr) detail::ops_service().release(&detail::ops_service(), raw_);
  }

  explicit operator bool() const { return raw_ != nullptr; }
  [[nodiscard]] graft_tensor get() const { return raw_; }  // borrowed
  // Gives the ownership away: how a slot hands a result to the host.
  [[nodiscard]] graft_tensor release() { return std::exchange(raw_, nullptr); }

  [[nodiscard]] graft_tensor_info info() const {
    graft_tensor_info out{};
    out.hdr = GRAFT_HDR(graft_tensor_info);
    const auto& service = detail::data_service();
    check([&](graft_error* error) { return service.describe(&service, raw_, &out, error); });
    return out;
  }
  [[nodiscard]] Shape sizes() const {
    const graft_tensor_info out = info();
    return {out.sizes, out.rank};
  }
  [[nodiscard]] std::int64_t size(std::int64_t dim) const { return sizes()[dim]; }
  [[nodiscard]] DType dtype() const { return static_cast<DType>(info().dtype); }
  // First element of a contiguous CPU tensor of element type T.
  template <typename T>
  [[nodiscard]] T* data() const {
    const graft_tensor_info out = info();
    if (out.device != GRAFT_DEVICE_CPU || out.is_contiguous == 0) {
      throw Error(GRAFT_E_INTERNAL, "expected a contiguous tensor in CPU memory");
    }
    return static_cast<T*>(out.data);
  }

 private:
  explicit Tensor(graft_tensor raw) : raw_(raw) {}
  graft_tensor raw_ = nullptr;
};

// An argument of an operator. Borrows what it was made from until the end of the call.
class Value {
 public:
  Value(std::nullptr_t) { raw_.tag = GRAFT_NONE; }
  Value(const Tensor& tensor) {
    raw_.tag = tensor ? GRAFT_TENSOR : GRAFT_NONE;
    raw_.u.tensor = tensor.get();
  }
  Value(bool value) { set_int(GRAFT_BOOLEAN, value ? 1 : 0); }
  Value(int value) { set_int(GRAFT_INT, value); }
  Value(std::int64_t value) { set_int(GRAFT_INT, value); }
  Value(double value) {
    raw_.tag = GRAFT_FLOAT;
    raw_.u.f = value;
  }
  Value(DType dtype) { set_int(GRAFT_DTYPE, static_cast<std::int32_t>(dtype)); }
  Value(const char* text) : Value(std::string_view(text)) {}
  Value(std::string_view text) {
    raw_.tag = GRAFT_STRING;
    raw_.u.str = to_str(text);
  }
  Value(std::initializer_list<std::int64_t> list) : Value(list.begin(), list.size()) {}
  Value(const std::vector<std::int64_t>& list) : Value(list.data(), list.size()) {}
  Value(Shape shape) : Value(shape.begin(), shape.rank()) {}
  Value(const std::int64_t* list, std::size_t n) {
    raw_.tag = GRAFT_INTS;
    raw_.count = static_cast<std::uint32_t>(n);
    raw_.u.ints = list;
  }
  // A list of tensors; null handles stand for absent ones.
  static Value tensors(const graft_tensor* list, std::size_t n) {
    Value value(nullptr);
    value.raw_.tag = GRAFT_TENSORS;
    value.raw_.count = static_cast<std::uint32_t>(n);
    value.raw_.u.tensors = list;
    return value;
  }
  static Value device(std::int32_t code, std::int32_t index) {
    Value value(nullptr);
    value.set_int(GRAFT_DEVICE, code);
    value.raw_.count = static_cast<std::uint32_t>(index);
    return value;
  }
  [[nodiscard]] const graft_value& raw() const { return raw_; }

 private:
  void set_int(std::uint32_t tag, std::int64_t value) {
    raw_.tag = tag;
    raw_.u.i = value;
  }
  graft_value raw_{};
};
static_assert(sizeof(Value) == sizeof(graft_value) && std::is_standard_layout_v<Value>,
              "lists of values are passed as lists of graft_value");

// An operator overload of the host's ATen. Make it once (static const): the constructor looks it up.
// Thread-safe.
class Op {
 public:
  explicit Op(std::string_view name, std::string_view overload = {}) {
    const auto& service = detail::ops_service();
    check([&](graft_error* error) {
      return service.find(&service, to_str(name), to_str(overload), &op_, error);
    });
  }

  // The first result. Arguments are in the order of the schema, keyword-only ones too; those left out take
  // its defaults.
  Tensor operator()(std::initializer_list<Value> arguments) const { return std::move(many<1>(arguments)[0]); }
  // The first N results, or the N elements of a list of tensors.
  template <std::size_t N>
  std::array<Tensor, N> many(std::initializer_list<Value> arguments) const {
    graft_value results[N] = {};
    call(arguments, results, N);
    std::array<Tensor, N> tensors;
    for (std::size_t i = 0; i < N; ++i) {
      if (results[i].tag == GRAFT_TENSOR) tensors[i] = Tensor::adopt(results[i].u.tensor);
    }
    return tensors;
  }
  // The elements of a list of n tensors.
  [[nodiscard]] std::vector<Tensor> list(std::initializer_list<Value> arguments, std::size_t n) const {
    std::vector<graft_value> results(n);
    call(arguments, results.data(), n);
    std::vector<Tensor> tensors;
    tensors.reserve(n);
    for (const graft_value& result : results) tensors.push_back(Tensor::adopt(result.u.tensor));
    return tensors;
  }

 private:
  void call(std::initializer_list<Value> arguments, graft_value* results, std::size_t n) const {
    const auto& service = detail::ops_service();
    check([&](graft_error* error) {
      return service.call(&service, op_, reinterpret_cast<const graft_value*>(arguments.begin()),
                          static_cast<std::uint32_t>(arguments.size()), results,
                          static_cast<std::uint32_t>(n), error);
    });
  }
  graft_op op_ = nullptr;
};

// Sets this thread's grad mode for a scope.
class GradMode {
 public:
  explicit GradMode(bool enabled) : before_(set(enabled ? 1 : 0)) {}
  ~GradMode() { set(before_); }
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;
  [[nodiscard]] bool was_enabled() const { return before_ != 0; }

 private:
  static std::int32_t set(std::int32_t enabled) {
    const auto& service = detail::autograd_service();
    return service.set_grad_mode(&service, enabled);
  }
  std::int32_t before_;
};

}  // namespace graft

#include <graft/sdk/ops.hpp>

#endif
