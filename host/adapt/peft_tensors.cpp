// SPDX-License-Identifier: Apache-2.0
#include "adapt/peft_tensors.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "model/safetensors.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

constexpr const char* kFile = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";  // of what belongs to a module
constexpr const char* kModelPrefix = "base_model.";   // of what belongs to the whole model
constexpr std::size_t kMostNamed = 8;                 // of each fault in a message
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

// A strategy's own tensor at a site.
bool is_adapter(const AdapterTensor& tensor) {
  return !tensor.is_base && tensor.site >= 0;
}

// Names under which PEFT writes a tensor of the whole model once more for each layer, as of RandLoRA's bases.
std::vector<std::string> repeated_names(const AdapterTensor& tensor,
                                        const std::vector<std::vector<std::string>>& names) {
  std::vector<std::string> list;
  if (tensor.site >= 0 || tensor.is_base) return list;
  for (const auto& aliases : names) {
    for (const auto& name : aliases) list.push_back(support::cat(kPrefix, name, '.', tensor.name));
  }
  return list;
}

// Names under which a file may hold a tensor; the first is the one to write.
std::vector<std::string> stored_names(const AdapterTensor& tensor, const std::vector<model::Site>& sites,
                                      const std::vector<std::vector<std::string>>& names) {
  if (tensor.site < 0) {
    return {support::cat(tensor.is_base ? kPrefix : kModelPrefix, tensor.name)};
  }
  const auto site = static_cast<std::size_t>(tensor.site);
  const auto suffix = tensor.name.substr(sites[site].name.size());  // ".lora_A.weight"
  std::vector<std::string> list;
  for (const auto& name : names[site]) {
    // PEFT wraps an adapted layer, so that its own bias lies one level deeper; not so where no adapter is.
    if (tensor.is_base) list.push_back(support::cat(kPrefix, name, ".base_layer", suffix));
    list.push_back(support::cat(kPrefix, name, suffix));
  }
  return list;
}

}  // namespace

std::filesystem::path adapter_tensor_file(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / kFile)) return directory / kFile;
  const bool has_pickle = std::filesystem::exists(directory / "adapter_model.bin");
  throw support::UserError(
      support::cat(directory, " has no ", kFile,
                   has_pickle ? "; its adapter_model.bin is a Python pickle, which is not read: save it "
                                "again with PEFT's safe_serialization"
                              : ", so its adapter has no weights"));
}

void read_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                          const std::vector<model::Site>& sites,
                          const std::vector<std::vector<std::string>>& names, const SiteReader& read_site) {
  const model::SafetensorsFile file(adapter_tensor_file(directory));
  Faults missing{"missing", {}}, unexpected{"unexpected", {}}, misshapen{"misshapen", {}};
  std::set<std::string> used;
  std::vector<std::pair<at::Tensor, const model::TensorEntry*>> found;
  std::map<std::size_t, model::NamedTensors> of_sites;  // for read_site
  for (const auto& tensor : tensors) {
    if (read_site && is_adapter(tensor)) of_sites[static_cast<std::size_t>(tensor.site)];
  }
  std::map<std::string, std::size_t> owners;  // by the module's prefix in the file
  for (const auto& [site, stored] : of_sites) {
    for (const auto& name : names[site]) owners[support::cat(kPrefix, name, '.')] = site;
  }
  for (const auto& entry : file.entries()) {
    for (auto dot = entry.name.find('.'); dot != std::string::npos; dot = entry.name.find('.', dot + 1)) {
      const auto owner = owners.find(entry.name.substr(0, dot + 1));
      if (owner == owners.end()) continue;
      auto rest = entry.name.substr(dot + 1);
      if (rest.starts_with("base_layer.")) break;
      of_sites[owner->second].emplace_back(std::move(rest), file.view(entry).to(at::kFloat));
      used.insert(entry.name);
      break;
    }
  }
  for (const auto& tensor : tensors) {
    if (!tensor.is_saved || (read_site && is_adapter(tensor))) continue;
    const model::TensorEntry* entry = nullptr;
    const auto candidates = stored_names(tensor, sites, names);
    for (const auto& name : candidates) {
      if ((entry = file.find(name)) != nullptr) break;
    }
    if (entry == nullptr) {
      missing.items.push_back(candidates.front());
      continue;
    }
    used.insert(entry->name);
    for (const auto& name : repeated_names(tensor, names)) {
      const model::TensorEntry* copy = file.find(name);
      if (copy != nullptr && copy->sizes == entry->sizes) used.insert(name);
    }
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
  for (const auto& [site, stored] : of_sites) read_site(site, stored);
}

void write_adapter_tensors(const std::filesystem::path& directory, const std::vector<AdapterTensor>& tensors,
                           const std::vector<model::Site>& sites,
                           const std::vector<std::vector<std::string>>& names) {
  std::set<std::int64_t> wrapped;  // sites with tensors of an adapter
  for (const auto& tensor : tensors) {
    if (is_adapter(tensor)) wrapped.insert(tensor.site);
  }
  model::NamedTensors named;
  for (const auto& tensor : tensors) {
    const bool is_whole = tensor.is_base && wrapped.count(tensor.site) == 0;
    named.emplace_back(
        is_whole ? support::cat(kPrefix, tensor.name) : stored_names(tensor, sites, names).front(),
        tensor.tensor.detach().contiguous());
  }
  model::write_safetensors(directory / kFile, named);
}

}  // namespace graft::adapt
