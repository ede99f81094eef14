// SPDX-License-Identifier: Apache-2.0
// adapter_model.safetensors: tensors under PEFT's names, "base_model.model.<module path>.lora_A.weight".
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "model/model.h"

namespace graft::adapt {

// `<directory>/adapter_model.safetensors`; UserError if there is none, with the reason.
[[nodiscard]] std::filesystem::path adapter_tensor_file(const std::filesystem::path& directory);

// Copies the file's tensors into `tensors` (as float32, whatever the file's dtype). Each module may be stored
// under any of its names (see site_names). Throws UserError listing every missing, unexpected and misshapen
// tensor; nothing is changed then.
void read_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                          const std::vector<model::Site>& sites,
                          const std::vector<std::vector<std::string>>& names);

// Writes `<directory>/adapter_model.safetensors`.
void write_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                           const std::vector<model::Site>& sites,
                           const std::vector<std::vector<std::string>>& names);

}  // namespace graft::adapt
