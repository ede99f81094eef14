// SPDX-License-Identifier: Apache-2.0
// adapter_model.safetensors: tensors under PEFT's names, "base_model.model.<module path>.lora_A.weight".
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "adapt/adapter.h"
#include "model/model.h"
#include "model/safetensors.h"

namespace graft::adapt {

// `<directory>/adapter_model.safetensors`; UserError if there is none, with the reason.
[[nodiscard]] std::filesystem::path adapter_tensor_file(const std::filesystem::path& directory);

// Takes the tensors that a file holds for a site, in float32, names without the module's.
using SiteReader = std::function<void(std::size_t site, const model::NamedTensors& stored)>;

// Copies the file's tensors into `tensors` (as float32, whatever the file's dtype). Each module may be stored
// under any of its names (see site_names). Throws UserError listing every missing, unexpected and misshapen
// tensor; nothing is changed then. With `read_site`, that takes what belongs to adapted sites instead, after these checks.
void read_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                          const std::vector<model::Site>& sites,
                          const std::vector<std::vector<std::string>>& names,
                          const SiteReader& read_site = {});

// Writes `<directory>/adapter_model.safetensors`.
void write_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                           const std::vector<model::Site>& sites,
                           const std::vector<std::vector<std::string>>& names);

}  // namespace graft::adapt
