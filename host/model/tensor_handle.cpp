// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_handle.h"

#include <array>
#include <stdexcept>

#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

struct Dtype {
  std::int32_t code;
  at::ScalarType type;
  std::string_view name;
};

constexpr std::array<Dtype, 10> kDtypes = {{
    {GRAFT_FLOAT32, at::kFloat, "float32"},
    {GRAFT_FLOAT64, at::kDouble, "float64"},
    {GRAFT_FLOAT16, at::kHalf, "float16"},
    {GRAFT_BFLOAT16, at::kBFloat16, "bfloat16"},
    {GRAFT_UINT8, at::kByte, "uint8"},
    {GRAFT_INT8, at::kChar, "int8"},
    {GRAFT_INT16, at::kShort, "int16"},
    {GRAFT_INT32, at::kInt, "int32"},
    {GRAFT_INT64, at::kLong, "int64"},
    {GRAFT_BOOL, at::kBool, "bool"},
}};

}  // namespace

at::ScalarType dtype_of_code(std::int64_t code) {
  if (code == GRAFT_DTYPE_DEFAULT) return at::kFloat;
  for (const Dtype& dtype : kDtypes) {
    if (dtype.code == code) return dtype.type;
  }
  throw std::invalid_argument(support::cat("unknown dtype code ", code,
                                           ", expected one of GRAFT_FLOAT32 (1) to ", "GRAFT_BOOL (10)"));
}

std::int32_t code_of_dtype(at::ScalarType dtype) {
  for (const Dtype& known : kDtypes) {
    if (known.type == dtype) return known.code;
  }
  return -1;
}

at::ScalarType dtype_of_name(std::string_view name) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.name == name && c10::isFloatingType(dtype.type)) return dtype.type;
  }
  throw support::UserError(support::cat(
      "unknown dtype \"", name, "\", expected \"float32\", \"bfloat16\", \"float16\" or \"float64\""));
}

std::string_view name_of_dtype(at::ScalarType dtype) {
  for (const Dtype& known : kDtypes) {
    if (known.type == dtype) return known.name;
  }
  return c10::toString(dtype);
}

}  // namespace graft::model
