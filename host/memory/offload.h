// SPDX-License-Identifier: Apache-2.0
// Activations out of memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/saved_tensors.h"

namespace graft::memory {

class OffloadFile;

// A tensor of the CPU that was written to the file. Its shape and strides come back as they were; tensors that shared memory
// share it again while one of them lives.
class Offloaded {
 public:
  struct Block;
  [[nodiscard]] at::Tensor load() const;

 private:
  friend class OffloadFile;
  std::shared_ptr<Block> block_;
  std::vector<std::int64_t> sizes_, strides_;
  std::int64_t offset_ = 0;
  at::ScalarType dtype_ = at::kFloat;
};

// Where activations go. On the CPU they are in host memory already, so moving them out of it means a file: one without a name in
// the directory for temporary files (TMPDIR), which the system removes with the process. Space is used again once nothing of
// it is left to load. Threads may share it. Throws UserError if the file cannot be written, for lack of space as a rule.
class OffloadFile : public std::enable_shared_from_this<OffloadFile> {
 public:
  // Smaller tensors are not worth a read and a write.
  static constexpr std::int64_t kSmallestBytes = 4096;

  OffloadFile();
  ~OffloadFile();
  OffloadFile(const OffloadFile&) = delete;
  OffloadFile& operator=(const OffloadFile&) = delete;

  // True for dense tensors of the CPU of at least kSmallestBytes, and for "meta" tensors of that size, which have no values to write.
  [[nodiscard]] static bool takes(const at::Tensor& tensor);
  // Writes it. One that shares its memory, unchanged, with a tensor that is in the file already costs nothing.
  [[nodiscard]] Offloaded store(const at::Tensor& tensor);

  [[nodiscard]] std::int64_t bytes() const;          // in the file now
  [[nodiscard]] std::int64_t bytes_written() const;  // since the beginning

 private:
  friend struct Offloaded::Block;
  struct State;
  std::unique_ptr<State> state_;
};

// Sends what autograd saves to `file`, weights and small tensors aside.
[[nodiscard]] std::unique_ptr<SavedTensorHandler> offload_handler(std::shared_ptr<OffloadFile> file);

}  // namespace graft::memory
