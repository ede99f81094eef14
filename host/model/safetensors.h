// SPDX-License-Identifier: Apache-2.0
// The safetensors format (github.com/huggingface/safetensors): eight bytes header length, little-endian; a
// JSON header of
// {"name": {"dtype", "shape", "data_offsets"}}; the tensors' bytes, row-major, without gaps. Reading is by
// mmap and the header is checked completely before anything is used, so that no file can make the process
// read outside of it. All errors are UserError naming the file, the tensor, what was found and what was
// expected.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/files.h"

namespace graft::model {

// A tensor as the header describes it.
struct TensorEntry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> sizes;
  std::uint64_t begin = 0, end = 0;  // bytes within the data section

  [[nodiscard]] std::string shape() const;  // "[2, 3]"
};

// What is before the tensors' bytes.
struct SafetensorsHeader {
  std::vector<TensorEntry> entries;  // sorted by name
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;  // offset of the data section within the file
};

// Checks `bytes`, the whole file, which `file` names in messages.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::string_view bytes,
                                                         const std::filesystem::path& file);

// One file. Copies share the mapping. Thread-safe.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& file);

  [[nodiscard]] const std::filesystem::path& path() const { return mapping_->path(); }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return header_->metadata; }
  [[nodiscard]] const std::vector<TensorEntry>& entries() const {
    return header_->entries;
  }                                                                    // sorted by name
  [[nodiscard]] const TensorEntry* find(std::string_view name) const;  // null if absent

  // The tensor over the mapped file, which it keeps alive: copy-free and not to be written to.
  [[nodiscard]] at::Tensor view(const TensorEntry& entry) const;
  // Fills `target`, of the entry's sizes, any floating-point dtype, contiguous and on the CPU. Pages of the file are
  // given back while it goes on: no more than 16 MiB of them are resident on account of it. Data that is not aligned goes through
  // `buffer`, which is made when it is first needed (1 MiB): one for all tensors, since one for each leaves holes between them.
  void copy_to(const TensorEntry& entry, at::Tensor& target, at::Tensor& buffer) const;
  // Do both tensors have the same dtype, sizes and bytes? As sparing with memory as copy_to().
  [[nodiscard]] bool holds_same(const TensorEntry& entry, const SafetensorsFile& other,
                                const TensorEntry& other_entry) const;
  // The tensor with memory of its own. UserError if the file has none of that name.
  [[nodiscard]] at::Tensor read(std::string_view name) const;

 private:
  [[nodiscard]] const char* data(const TensorEntry& entry) const;
  void release(const TensorEntry& entry, std::uint64_t offset, std::uint64_t size) const;
  std::shared_ptr<const support::MappedFile> mapping_;
  std::shared_ptr<const SafetensorsHeader> header_;
};

// The weights of a model directory: model.safetensors, or the shards that model.safetensors.index.json lists.
class WeightFiles {
 public:
  explicit WeightFiles(const std::filesystem::path& directory);

  // What to name in messages: the single file or the index.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::vector<std::string> names() const;  // sorted
  [[nodiscard]] const TensorEntry* find(std::string_view name) const;
  // See SafetensorsFile; the names must be present.
  [[nodiscard]] at::Tensor view(std::string_view name) const;
  void copy_to(std::string_view name, at::Tensor& target, at::Tensor& buffer) const;
  [[nodiscard]] bool hold_same(std::string_view name, std::string_view other) const;

 private:
  using Place = std::pair<std::size_t, const TensorEntry*>;  // file, entry
  void add(SafetensorsFile file);
  [[nodiscard]] const Place& place(std::string_view name) const;
  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place, std::less<>> by_name_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes the tensors, of any device and strides, in one atomic step; the same tensors give the same bytes
// whatever their order (larger elements first, then by name, which keeps each one aligned). Names must
// differ.
void write_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace graft::model
