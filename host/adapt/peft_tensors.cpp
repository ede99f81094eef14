// SPDX-License-Identifier: Apache-2.0
#include "adapt/peft_tensors.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>
#include <utility>

#include "model/safetensors.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

constexpr const char* kFile = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";
constexpr std::size_t kMostNamed = 8;  // of each fault in a message
constexpr const char* kMissingHint =
    "; layers that were never adapted belong into exclude_modules of adapter_config.json";

std::string text_of(const std::vector<std::int64_t>& sizes) {
  std::vector<std::string> parts;
  for (const auto size : sizes) parts.push_back(std::to_string(size));
  return support::cat('[', support::join(parts, ", "), ']');
}

// Faults of one sort: "missing: a, b and 3 more".
struct Faults {
  const char* label;
  std::vector<std::string> items;

  [[nodiscard]] std::string text() const {
    std::vector<std::string> shown(
        items.begin(), items.begin() + static_cast<std::ptrdiff_t>(std::min(items.size(), kMostNamed)));
    const auto more = items.size() - shown.size();
    return support::cat(label, ": ", support::join(shown, ", "),
                        more > 0 ? support::cat(" and ", more, " more") : "");
  }
};

std::filesystem::path tensor_file(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / kFile)) return directory / kFile;
  const bool has_pickle = std::filesystem::exists(directory / "adapter_model.bin");
  throw support::UserError(
      support::cat(directory, " has no ", kFile,
                   has_pickle ? "; its adapter_model.bin is a Python pickle, which is not read: save it "
                                "again with PEFT's safe_serialization"
                              : ", so its adapter has no weights"));
}

}  // namespace

void read_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                          const std::vector<model::Site>& sites,
                          const std::vector<std::vector<std::string>>& names) {
  const model::SafetensorsFile file(tensor_file(directory));
  Faults missing{"missing", {}}, unexpected{"unexpected", {}}, misshapen{"misshapen", {}};
  std::set<std::string> used;
  std::vector<std::pair<at::Tensor, const model::TensorEntry*>> found;
  for (const auto& tensor : tensors) {
    const auto site = static_cast<std::size_t>(tensor.site);
    const auto suffix = tensor.name.substr(sites[site].name.size());  // ".lora_A.weight"
    const model::TensorEntry* entry = nullptr;
    for (const auto& name : names[site]) {
      if ((entry = file.find(support::cat(kPrefix, name, suffix))) != nullptr) break;
    }
    if (entry == nullptr) {
      missing.items.push_back(support::cat(kPrefix, tensor.name));
      continue;
    }
    used.insert(entry->name);
    if (entry->sizes != tensor.tensor.sizes().vec()) {
      misshapen.items.push_back(support::cat(entry->name, " is ", entry->shape(), ", expected ",
                                             text_of(tensor.tensor.sizes().vec())));
      continue;
    }
    found.emplace_back(tensor.tensor, entry);
  }
  for (const auto& entry : file.entries()) {
    if (used.count(entry.name) == 0) unexpected.items.push_back(entry.name);
  }
  std::vector<std::string> faults;
  for (const auto* fault : {&missing, &misshapen, &unexpected}) {
    if (!fault->items.empty()) faults.push_back(fault->text());
  }
  if (!faults.empty()) {
    throw support::UserError(support::cat(file.path(), " does not fit this model and adapter_config.json; ",
                                          support::join(faults, "; "),
                                          missing.items.empty() ? "" : kMissingHint));
  }
  const at::NoGradGuard no_grad;
  for (const auto& [tensor, entry] : found) tensor.copy_(file.view(*entry));
}

void write_adapter_tensors(const std::filesystem::path& directory,
                           const std::vector<AdapterTensor>& tensors) {
  model::NamedTensors named;
  for (const auto& tensor : tensors)
    named.emplace_back(support::cat(kPrefix, tensor.name), tensor.tensor.detach());
  model::write_safetensors(directory / kFile, named);
}

}  // namespace graft::adapt
