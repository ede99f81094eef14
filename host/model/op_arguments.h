// SPDX-License-Identifier: Apache-2.0
// Tagged values of the ABI to and from the values of LibTorch's dispatcher, by schema type.
#pragma once

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <graft/abi.h>

#include <cstdint>
#include <string>

namespace graft::model {

// What a schema argument takes, worked out once per operator.
struct ArgumentKind {
  enum class Type : std::uint8_t {
    kUnsupported,
    kTensor,
    kInt,  // int, SymInt, Layout, MemoryFormat
    kFloat,
    kBool,
    kScalar,
    kString,
    kDtype,
    kDevice,
    kInts,  // int[], SymInt[]
    kFloats,
    kBools,
    kScalars,
    kTensors,
    kOptionalTensors,
  };
  Type type = Type::kUnsupported;
  bool is_optional = false;
  std::int32_t fixed_length = 0;               // N of int[N]: a single number stands for N equal ones
  const c10::IValue* default_value = nullptr;  // within the schema
  std::string text;                            // "self (Tensor)", for messages
};

[[nodiscard]] ArgumentKind kind_of_argument(const c10::Argument& argument);

// The dispatcher's value for `value`. GRAFT_NONE is None for optional arguments and the default of others.
// Throws std::invalid_argument if tag and type do not fit.
[[nodiscard]] c10::IValue argument_of_value(const graft_value& value, const ArgumentKind& kind);
// The default of an argument that was left out; throws std::invalid_argument if it has none.
[[nodiscard]] c10::IValue default_argument(const ArgumentKind& kind);

// How many graft_values a result takes (the elements of a Tensor[], else 1). Throws std::invalid_argument for
// a type that the ABI cannot carry.
[[nodiscard]] std::uint32_t count_result(const c10::IValue& result);
// Writes them, tensors with a reference of their own; at most `room`. Returns how many. Cannot fail after
// count_result.
std::uint32_t write_result(c10::IValue&& result, graft_value* out, std::uint32_t room);

}  // namespace graft::model
