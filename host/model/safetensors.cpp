// SPDX-License-Identifier: Apache-2.0
#include "model/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

namespace fs = std::filesystem;
using support::cat;
using support::UserError;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// The "weight_map" of an index: tensor name to file name.
std::map<std::string, std::string> read_index(const fs::path& index) {
  std::map<std::string, std::string> weight_map;
  try {
    const auto parsed = nlohmann::json::parse(support::read_file(index));
    parsed.at("weight_map").get_to(weight_map);
  } catch (const nlohmann::json::exception& e) {
    throw UserError(cat(index, ": expected {\"weight_map\": {tensor name: file name}}: ", e.what()));
  }
  for (const auto& [tensor, file] : weight_map) {
    // Nothing outside of the directory is opened.
    if (file.empty() || fs::path(file).filename() != fs::path(file) || file == "..") {
      throw UserError(cat(index, ": tensor \"", tensor, "\" is said to be in \"", file,
                          "\", expected a plain file name"));
    }
  }
  return weight_map;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& file)
    : mapping_(std::make_shared<support::MappedFile>(file)),
      header_(std::make_shared<SafetensorsHeader>(parse_safetensors_header(mapping_->text(), file))) {}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::lower_bound(entries().begin(), entries().end(), name,
                       [](const TensorEntry& entry, std::string_view word) { return entry.name < word; });
  return found != entries().end() && found->name == name ? &*found : nullptr;
}

at::Tensor SafetensorsFile::view(const TensorEntry& entry) const {
  const auto options = at::TensorOptions().dtype(entry.dtype);
  if (entry.begin == entry.end) return at::empty(entry.sizes, options);
  // The mapping is read-only; LibTorch has no tensors that are.
  void* const data = const_cast<char*>(mapping_->text().data()) + header_->data_begin + entry.begin;
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(entry.dtype) == 0;
  if (is_aligned)
    return at::from_blob(
        data, entry.sizes, [keep = mapping_](void*) {}, options);
  at::Tensor copy = at::empty(entry.sizes, options);
  std::copy_n(static_cast<const char*>(data), entry.end - entry.begin,
              static_cast<char*>(copy.mutable_data_ptr()));
  return copy;
}

at::Tensor SafetensorsFile::read(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry == nullptr) throw UserError(cat(path(), " has no tensor \"", name, "\""));
  return view(*entry).clone();
}

WeightFiles::WeightFiles(const fs::path& directory) {
  if (fs::exists(directory / kSingleFile)) {
    path_ = directory / kSingleFile;
    add(SafetensorsFile(path_));
    return;
  }
  path_ = directory / kIndexFile;
  if (!fs::exists(path_)) {
    throw UserError(
        cat(directory, " holds no weights: neither ", kSingleFile, " nor ", kIndexFile, " is there"));
  }
  const std::map<std::string, std::string> weight_map = read_index(path_);
  std::set<std::string> shards;
  for (const auto& [tensor, file] : weight_map) shards.insert(file);
  for (const std::string& shard : shards) add(SafetensorsFile(directory / shard));
  for (const auto& [tensor, shard] : weight_map) {
    const auto found = by_name_.find(tensor);
    if (found == by_name_.end() || files_[found->second.first].path().filename() != shard) {
      throw UserError(
          cat(path_, ": tensor \"", tensor, "\" is said to be in ", shard, ", which does not hold it"));
    }
  }
}

void WeightFiles::add(SafetensorsFile file) {
  for (const TensorEntry& entry : file.entries()) {
    const auto [at, is_new] = by_name_.emplace(entry.name, std::pair(files_.size(), &entry));
    if (!is_new) {
      throw UserError(cat("tensor \"", entry.name, "\" is both in ", files_[at->second.first].path(),
                          " and in ", file.path()));
    }
  }
  files_.push_back(std::move(file));
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> out;
  for (const auto& [name, place] : by_name_) out.push_back(name);
  return out;
}

const TensorEntry* WeightFiles::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second.second;
}

at::Tensor WeightFiles::view(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) throw UserError(cat(path_, " has no tensor \"", name, "\""));
  return files_[found->second.first].view(*found->second.second);
}

}  // namespace graft::model
