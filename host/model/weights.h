// SPDX-License-Identifier: Apache-2.0
// Weights of a model directory into parameters and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/family.h"
#include "model/model.h"

namespace graft::model {

// Reads each parameter under its name or one of its aliases, converted from any floating-point dtype to `dtype`, tensor
// by tensor from the mapped files, whose pages are given back at once: peak memory is that of the parameters and some
// MiB. Tied parameters share the tensor of the other one, which may be stored under either name; a copy in the file must
// have the same values. Returns the name under which each parameter was found, empty for tied ones. Throws one UserError
// that lists all missing, unexpected, misshapen, integer and wrongly tied tensors. Unexpected ones are errors, but for
// buffers that are computed here (rotary inv_freq): what is left over usually means another architecture.
std::vector<std::string> load_weights(const std::filesystem::path& directory, at::ScalarType dtype,
                                      std::vector<Param>& params);

// Fills the parameters from `seed` and their names instead, and returns the names to save them under (the
// first alias, the layout of published files).
std::vector<std::string> random_weights(std::uint64_t seed, at::ScalarType dtype,
                                        const std::vector<RandomInit>& random, std::vector<Param>& params);

// The errors of load_weights(), from the files' headers alone.
void check_weights(const std::filesystem::path& directory, const std::vector<Param>& params);

// Gives the parameters sizes without values: tensors on LibTorch's "meta" device.
void outline_weights(at::ScalarType dtype, std::vector<Param>& params);

// The floating-point dtype of most bytes of the directory's weights.
[[nodiscard]] at::ScalarType weights_dtype(const std::filesystem::path& directory);

// Writes model.safetensors, or shards of at most `shard_bytes` with their index, into `directory`.
void save_weights(const std::filesystem::path& directory, const std::vector<Param>& params,
                  const std::vector<std::string>& names, std::uint64_t shard_bytes = 5'000'000'000);

}  // namespace graft::model
