// SPDX-License-Identifier: Apache-2.0
#include "model/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstring>
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
constexpr std::uint64_t kChunkBytes = 16U << 20U;  // a multiple of every element size and of pages
constexpr std::uint64_t kBufferBytes = 1U << 20U;  // likewise

bool is_aligned(const char* data, at::ScalarType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(dtype) == 0;
}

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

[[noreturn]] void fail_without_weights(const fs::path& directory) {
  std::string text =
      cat(directory, " holds no weights: neither ", kSingleFile, " nor ", kIndexFile, " is there");
  for (const char* other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!fs::exists(directory / other)) continue;
    text +=
        cat("; ", other, ", a pickle, is not read: load the model in transformers and save_pretrained() it");
    break;
  }
  throw UserError(text);
}

// All of them at once: an interrupted download usually lacks several.
void require_shards(const fs::path& index, const std::set<std::string>& shards) {
  std::vector<std::string> missing;
  for (const std::string& shard : shards) {
    if (!fs::exists(index.parent_path() / shard)) missing.push_back(shard);
  }
  if (missing.empty()) return;
  throw UserError(cat(index, " names ", shards.size(), " files, of which ", missing.size(),
                      " are not in the directory: ", support::join(missing, ", "),
                      "; the download is probably incomplete, fetch them"));
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
  const char* const from = data(entry);
  if (is_aligned(from, entry.dtype)) {
    // The mapping is read-only; LibTorch has no tensors that are.
    return at::from_blob(
        const_cast<char*>(from), entry.sizes, [keep = mapping_](void*) {}, options);
  }
  at::Tensor copy = at::empty(entry.sizes, options);
  std::copy_n(from, entry.end - entry.begin, static_cast<char*>(copy.mutable_data_ptr()));
  return copy;
}

void SafetensorsFile::copy_to(const TensorEntry& entry, at::Tensor& target, at::Tensor& buffer) const {
  const c10::NoGradGuard no_grad;
  const std::uint64_t element = c10::elementSize(entry.dtype);
  const bool copies = !is_aligned(data(entry), entry.dtype);  // as every chunk then is or is not
  if (copies && !buffer.defined()) buffer = at::empty({kBufferBytes}, at::TensorOptions().dtype(at::kByte));
  const std::uint64_t chunk = copies ? kBufferBytes : kChunkBytes;
  at::Tensor flat = target.view({-1});
  for (std::uint64_t at = 0, bytes = entry.end - entry.begin; at < bytes; at += chunk) {
    const std::uint64_t size = std::min(chunk, bytes - at);
    char* from = const_cast<char*>(data(entry)) + at;
    if (copies) from = std::copy_n(from, size, static_cast<char*>(buffer.mutable_data_ptr())) - size;
    const auto count = static_cast<std::int64_t>(size / element);
    flat.narrow(0, static_cast<std::int64_t>(at / element), count)
        .copy_(at::from_blob(from, {count}, at::TensorOptions().dtype(entry.dtype)));
    release(entry, at, size);
  }
}

bool SafetensorsFile::holds_same(const TensorEntry& entry, const SafetensorsFile& other,
                                 const TensorEntry& other_entry) const {
  if (entry.dtype != other_entry.dtype || entry.sizes != other_entry.sizes) return false;
  bool same = true;
  for (std::uint64_t at = 0, bytes = entry.end - entry.begin; same && at < bytes; at += kChunkBytes) {
    const std::uint64_t size = std::min(kChunkBytes, bytes - at);
    same = std::memcmp(data(entry) + at, other.data(other_entry) + at, size) == 0;
    release(entry, at, size);
    other.release(other_entry, at, size);
  }
  return same;
}

const char* SafetensorsFile::data(const TensorEntry& entry) const {
  return mapping_->text().data() + header_->data_begin + entry.begin;
}

void SafetensorsFile::release(const TensorEntry& entry, std::uint64_t offset, std::uint64_t size) const {
  mapping_->release(header_->data_begin + entry.begin + offset, size);
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
  if (!fs::exists(path_)) fail_without_weights(directory);
  const std::map<std::string, std::string> weight_map = read_index(path_);
  std::set<std::string> shards;
  for (const auto& [tensor, file] : weight_map) shards.insert(file);
  require_shards(path_, shards);
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

const WeightFiles::Place& WeightFiles::place(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) throw UserError(cat(path_, " has no tensor \"", name, "\""));
  return found->second;
}

at::Tensor WeightFiles::view(std::string_view name) const {
  const auto& [file, entry] = place(name);
  return files_[file].view(*entry);
}

void WeightFiles::copy_to(std::string_view name, at::Tensor& target, at::Tensor& buffer) const {
  const auto& [file, entry] = place(name);
  files_[file].copy_to(*entry, target, buffer);
}

bool WeightFiles::hold_same(std::string_view name, std::string_view other) const {
  const auto& [file, entry] = place(name);
  const auto& [other_file, other_entry] = place(other);
  return files_[file].holds_same(*entry, files_[other_file], *other_entry);
}

}  // namespace graft::model
