// SPDX-License-Identifier: Apache-2.0
#include "adapt/adapter_info.h"

#include <map>
#include <set>

#include "adapt/peft_config.h"
#include "adapt/peft_tensors.h"
#include "adapt/stored_adapter.h"
#include "model/safetensors.h"
#include "model/tensor_handle.h"
#include "support/strings.h"

namespace graft::adapt {
namespace {

using support::cat;

// "q_proj" and "lora_A.weight" of "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": PEFT's own part of a name
// begins with the last component that is not "weight", "bias" or "base_layer".
std::pair<std::string, std::string> split_name(const std::string& name) {
  std::vector<std::string> parts = support::split(name, '.');
  std::size_t own = parts.size() - 1;
  const auto is_leaf = [](const std::string& part) { return part == "weight" || part == "bias"; };
  if (is_leaf(parts[own]) && own > 0 && parts[own - 1].find('_') != std::string::npos &&
      (parts[own - 1].find("lora") != std::string::npos || parts[own - 1].find("oft") != std::string::npos ||
       parts[own - 1] == "base_layer")) {
    --own;
  }
  const std::vector<std::string> tail(parts.begin() + static_cast<std::ptrdiff_t>(own), parts.end());
  return {own > 0 ? parts[own - 1] : "", support::join(tail, ".")};
}

struct Group {
  std::set<std::string> modules;
  std::map<std::string, std::set<std::string>> shapes;  // by tensor
  std::int64_t parameters = 0;
};

std::int64_t count(const model::TensorEntry& entry) {
  std::int64_t product = 1;
  for (const std::int64_t size : entry.sizes) product *= size;
  return product;
}

}  // namespace

AdapterInfo read_adapter_info(plugin::Registry& registry, const std::filesystem::path& directory) {
  const StoredAdapter stored = read_adapter(registry, directory, "");
  const nlohmann::ordered_json config = read_adapter_config(directory);
  AdapterInfo info;
  info.strategy = stored.strategy;
  info.params = stored.params;
  if (const auto base = config.find("base_model_name_or_path"); base != config.end() && base->is_string()) {
    info.base_model = base->get<std::string>();
  }
  info.targets = config.value("target_modules", nlohmann::ordered_json());
  const model::SafetensorsFile file(adapter_tensor_file(directory));
  std::map<std::string, Group> groups;
  std::set<std::string> dtypes;
  for (const model::TensorEntry& entry : file.entries()) {
    const auto [layer, own] = split_name(entry.name);
    Group& group = groups[layer];
    group.modules.insert(entry.name.substr(0, entry.name.size() - own.size()));
    group.shapes[own].insert(entry.shape());
    group.parameters += count(entry);
    info.parameters += count(entry);
    info.bytes += entry.end - entry.begin;
    dtypes.insert(std::string(model::name_of_dtype(entry.dtype)));
    ++info.tensors;
  }
  info.dtype = dtypes.size() == 1 ? *dtypes.begin() : dtypes.empty() ? "none" : "mixed";
  for (const auto& [layer, group] : groups) {
    AdapterInfo::Row row{layer, {}, static_cast<std::int64_t>(group.modules.size()), group.parameters};
    for (const auto& [own, shapes] : group.shapes) {
      row.tensors.push_back(cat(own, ' ', *shapes.begin(),
                                shapes.size() > 1 ? cat(" and ", shapes.size() - 1, " other shapes") : ""));
    }
    info.rows.push_back(std::move(row));
  }
  return info;
}

nlohmann::ordered_json AdapterInfo::json() const {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    layers.push_back({{"layer", row.layer},
                      {"layers", row.layers},
                      {"parameters", row.parameters},
                      {"tensors", row.tensors}});
  }
  return {{"strategy", strategy}, {"params", params},   {"base_model", base_model},
          {"targets", targets},   {"tensors", tensors}, {"parameters", parameters},
          {"bytes", bytes},       {"dtype", dtype},     {"layers", layers}};
}

std::string AdapterInfo::text() const {
  std::string out =
      cat("strategy    ", strategy, ' ', params.dump(), "\nbase model  ",
          base_model.empty() ? "not named" : base_model, "\ntargets     ", targets.dump(), "\ntensors     ",
          tensors, " of ", dtype, ", ", parameters, " parameters, ", bytes, " bytes\n");
  for (const Row& row : rows) {
    out += cat("  ", row.layer, " × ", row.layers, ": ", support::join(row.tensors, ", "), "; ",
               row.parameters, " parameters\n");
  }
  return out;
}

}  // namespace graft::adapt
