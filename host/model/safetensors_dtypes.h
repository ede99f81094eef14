// SPDX-License-Identifier: Apache-2.0
// What the reader and the writer of safetensors share.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft::model {

// "F32" to the dtype; false for a word that is not known or not supported.
[[nodiscard]] bool dtype_of_safetensors(std::string_view word, at::ScalarType& out);
// The inverse; std::invalid_argument for a dtype that the format does not have.
[[nodiscard]] std::string_view safetensors_word(at::ScalarType dtype);

// "[2, 3]".
[[nodiscard]] std::string shape_text(const std::vector<std::int64_t>& sizes);

}  // namespace graft::model
