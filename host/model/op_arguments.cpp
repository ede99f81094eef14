// SPDX-License-Identifier: Apache-2.0
#include "model/op_arguments.h"

#include <ATen/core/List.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "model/tensor_handle.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using Type = ArgumentKind::Type;

Type list_type(const c10::Type& element) {
  switch (element.kind()) {
    case c10::TypeKind::TensorType:
      return Type::kTensors;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return Type::kInts;
    case c10::TypeKind::FloatType:
      return Type::kFloats;
    case c10::TypeKind::BoolType:
      return Type::kBools;
    case c10::TypeKind::NumberType:
      return Type::kScalars;
    case c10::TypeKind::OptionalType:
      return element.expectRef<c10::OptionalType>().getElementType()->kind() == c10::TypeKind::TensorType
                 ? Type::kOptionalTensors
                 : Type::kUnsupported;
    default:
      return Type::kUnsupported;
  }
}

Type plain_type(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::TensorType:
      return Type::kTensor;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
      return Type::kInt;
    case c10::TypeKind::FloatType:
      return Type::kFloat;
    case c10::TypeKind::BoolType:
      return Type::kBool;
    case c10::TypeKind::NumberType:
      return Type::kScalar;
    case c10::TypeKind::StringType:
      return Type::kString;
    case c10::TypeKind::ScalarTypeType:
      return Type::kDtype;
    case c10::TypeKind::DeviceObjType:
      return Type::kDevice;
    case c10::TypeKind::ListType:
      return list_type(*type.expectRef<c10::ListType>().getElementType());
    default:
      return Type::kUnsupported;
  }
}

std::string_view tag_name(std::uint32_t tag) {
  constexpr std::string_view kNames[] = {"GRAFT_NONE",    "GRAFT_TENSOR", "GRAFT_INT",    "GRAFT_FLOAT",
                                         "GRAFT_BOOLEAN", "GRAFT_STRING", "GRAFT_INTS",   "GRAFT_FLOATS",
                                         "GRAFT_TENSORS", "GRAFT_DTYPE",  "GRAFT_DEVICE", "GRAFT_BOOLS"};
  return tag < std::size(kNames) ? kNames[tag] : "an unknown tag";
}

[[noreturn]] void reject(const graft_value& value, const ArgumentKind& kind) {
  throw std::invalid_argument(
      support::cat("argument ", kind.text, " cannot be made from ", tag_name(value.tag)));
}

at::Tensor element_tensor(graft_tensor handle, const ArgumentKind& kind) {
  if (handle == nullptr) {
    throw std::invalid_argument(support::cat("argument ", kind.text, " contains a NULL tensor"));
  }
  return share(handle);
}

c10::IValue ints_argument(const graft_value& value, const ArgumentKind& kind) {
  c10::List<std::int64_t> list;
  if (value.tag == GRAFT_INT) {
    list.resize(static_cast<std::size_t>(std::max(kind.fixed_length, 1)), value.u.i);
  } else if (value.tag == GRAFT_INTS) {
    list.reserve(value.count);
    for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(value.u.ints[i]);
  } else {
    reject(value, kind);
  }
  return list;
}

c10::IValue floats_argument(const graft_value& value, const ArgumentKind& kind) {
  c10::List<double> list;
  list.reserve(value.count);
  if (value.tag == GRAFT_FLOATS) {
    for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(value.u.floats[i]);
  } else if (value.tag == GRAFT_INTS) {
    for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(static_cast<double>(value.u.ints[i]));
  } else {
    reject(value, kind);
  }
  return list;
}

c10::IValue bools_argument(const graft_value& value, const ArgumentKind& kind) {
  c10::List<bool> list;
  if (value.tag == GRAFT_BOOLEAN) {
    list.resize(static_cast<std::size_t>(std::max(kind.fixed_length, 1)), value.u.i != 0);
  } else if (value.tag == GRAFT_BOOLS) {
    list.reserve(value.count);
    for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(value.u.ints[i] != 0);
  } else {
    reject(value, kind);
  }
  return list;
}

c10::IValue scalars_argument(const graft_value& value, const ArgumentKind& kind) {
  c10::List<at::Scalar> list;
  list.reserve(value.count);
  if (value.tag == GRAFT_FLOATS) {
    for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(at::Scalar(value.u.floats[i]));
  } else if (value.tag == GRAFT_INTS) {
    for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(at::Scalar(value.u.ints[i]));
  } else {
    reject(value, kind);
  }
  return list;
}

c10::IValue tensors_argument(const graft_value& value, const ArgumentKind& kind) {
  if (value.tag != GRAFT_TENSORS) reject(value, kind);
  if (kind.type == Type::kOptionalTensors) {
    c10::List<std::optional<at::Tensor>> list;
    list.reserve(value.count);
    for (std::uint32_t i = 0; i < value.count; ++i) {
      const graft_tensor handle = value.u.tensors[i];
      list.push_back(handle == nullptr ? std::nullopt : std::make_optional(share(handle)));
    }
    return list;
  }
  c10::List<at::Tensor> list;
  list.reserve(value.count);
  for (std::uint32_t i = 0; i < value.count; ++i) list.push_back(element_tensor(value.u.tensors[i], kind));
  return list;
}

c10::IValue scalar_argument(const graft_value& value, const ArgumentKind& kind) {
  if (value.tag == GRAFT_FLOAT) return value.u.f;
  if (value.tag == GRAFT_INT) return value.u.i;
  if (value.tag == GRAFT_BOOLEAN) return value.u.i != 0;
  reject(value, kind);
}

c10::IValue device_argument(const graft_value& value, const ArgumentKind& kind) {
  if (value.tag != GRAFT_DEVICE) reject(value, kind);
  if (value.u.i == GRAFT_DEVICE_CPU) return c10::Device(c10::kCPU);
  if (value.u.i == GRAFT_DEVICE_NONE) return c10::Device(c10::kMeta);
  if (value.u.i == GRAFT_DEVICE_CUDA) {
    return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(value.count));
  }
  throw std::invalid_argument(support::cat("argument ", kind.text, ": unknown device code ", value.u.i));
}

c10::IValue argument_of_none(const ArgumentKind& kind) {
  if (kind.is_optional) return {};
  return default_argument(kind);
}

}  // namespace

ArgumentKind kind_of_argument(const c10::Argument& argument) {
  ArgumentKind kind;
  const c10::Type* type = argument.real_type().get();
  if (type->kind() == c10::TypeKind::OptionalType) {
    kind.is_optional = true;
    type = type->expectRef<c10::OptionalType>().getElementType().get();
  }
  kind.type = plain_type(*type);
  kind.fixed_length = argument.N().value_or(0);
  if (argument.default_value().has_value()) kind.default_value = &*argument.default_value();
  kind.text = support::cat(argument.name(), " (", argument.real_type()->str(), ")");
  return kind;
}

c10::IValue default_argument(const ArgumentKind& kind) {
  if (kind.default_value != nullptr) return *kind.default_value;
  throw std::invalid_argument(support::cat("argument ", kind.text, " is missing and has no default"));
}

c10::IValue argument_of_value(const graft_value& value, const ArgumentKind& kind) {
  if (value.tag == GRAFT_NONE) return argument_of_none(kind);
  switch (kind.type) {
    case Type::kTensor:
      if (value.tag != GRAFT_TENSOR) reject(value, kind);
      if (value.u.tensor == nullptr) {
        if (kind.is_optional) return {};
        throw std::invalid_argument(support::cat("argument ", kind.text, " is a NULL tensor"));
      }
      return share(value.u.tensor);
    case Type::kInt:
      if (value.tag != GRAFT_INT) reject(value, kind);
      return value.u.i;
    case Type::kFloat:
      if (value.tag == GRAFT_FLOAT) return value.u.f;
      if (value.tag == GRAFT_INT) return static_cast<double>(value.u.i);
      reject(value, kind);
    case Type::kBool:
      if (value.tag != GRAFT_BOOLEAN && value.tag != GRAFT_INT) reject(value, kind);
      return value.u.i != 0;
    case Type::kScalar:
      return scalar_argument(value, kind);
    case Type::kString:
      if (value.tag != GRAFT_STRING) reject(value, kind);
      return std::string(value.u.str.ptr, static_cast<std::size_t>(value.u.str.len));
    case Type::kDtype:
      if (value.tag != GRAFT_DTYPE) reject(value, kind);
      return dtype_of_code(value.u.i);
    case Type::kDevice:
      return device_argument(value, kind);
    case Type::kInts:
      return ints_argument(value, kind);
    case Type::kFloats:
      return floats_argument(value, kind);
    case Type::kBools:
      return bools_argument(value, kind);
    case Type::kScalars:
      return scalars_argument(value, kind);
    case Type::kTensors:
    case Type::kOptionalTensors:
      return tensors_argument(value, kind);
    case Type::kUnsupported:
      break;
  }
  throw std::invalid_argument(support::cat(
      "argument ", kind.text, " is of a type that the plugin interface cannot carry; leave it out"));
}

std::uint32_t count_result(const c10::IValue& result) {
  if (result.isTensorList()) return static_cast<std::uint32_t>(result.toTensorList().size());
  if (result.isTensor() || result.isInt() || result.isDouble() || result.isBool() || result.isNone())
    return 1;
  throw std::invalid_argument(
      support::cat("the result type ", result.tagKind(), " cannot be carried by the plugin interface"));
}

std::uint32_t write_result(c10::IValue&& result, graft_value* out, std::uint32_t room) {
  if (result.isTensorList()) {
    const c10::List<at::Tensor> list = std::move(result).toTensorList();
    const std::uint32_t n = std::min(room, static_cast<std::uint32_t>(list.size()));
    for (std::uint32_t i = 0; i < n; ++i) write_result(list.get(i), out + i, 1);
    return n;
  }
  if (room == 0) return 0;
  graft_value value{};
  if (result.isTensor()) {
    value.u.tensor = give(std::move(result).toTensor());
    value.tag = value.u.tensor == nullptr ? GRAFT_NONE : GRAFT_TENSOR;
  } else if (result.isInt()) {
    value.tag = GRAFT_INT;
    value.u.i = result.toInt();
  } else if (result.isDouble()) {
    value.tag = GRAFT_FLOAT;
    value.u.f = result.toDouble();
  } else if (result.isBool()) {
    value.tag = GRAFT_BOOLEAN;
    value.u.i = result.toBool() ? 1 : 0;
  }
  *out = value;
  return 1;
}

}  // namespace graft::model
