// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace graft::memory {

// Counts what tensors on LibTorch's "meta" device would take. Such tensors have sizes and no values, so a forward and backward pass
// over them allocates nothing, and yet frees and allocates what the real one would, in the same order. One at a time in a
// process, one thread. Tensors may outlive it.
class Ledger {
 public:
  Ledger();
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // What is allocated from now on is of the kind `name`, until the scope ends.
  class Scope {
   public:
    Scope(Ledger& ledger, const std::string& name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Ledger& ledger_;
    std::size_t former_;
  };

  // Memory that this tensor holds is of the kind `name`. Nothing for tensors that this ledger does not know.
  void relabel(const at::Tensor& tensor, const std::string& name);
  // Memory that no meta tensor stands for, in bytes; may be negative.
  void add(const std::string& name, std::int64_t bytes);

  [[nodiscard]] std::int64_t current() const { return current_; }
  [[nodiscard]] std::int64_t peak() const { return peak_; }
  // Bytes by kind, without those that have none: now, and when the peak was reached.
  [[nodiscard]] std::map<std::string, std::int64_t> now() const { return named(bytes_); }
  [[nodiscard]] std::map<std::string, std::int64_t> at_peak() const { return named(bytes_at_peak_); }
  void reset_peak();  // the next peak counts from now

 private:
  friend class MetaAllocator;
  std::size_t kind(const std::string& name);
  void change(std::size_t kind, std::int64_t bytes);
  [[nodiscard]] std::map<std::string, std::int64_t> named(const std::vector<std::int64_t>& bytes) const;

  std::vector<std::string> names_;
  std::vector<std::int64_t> bytes_, bytes_at_peak_;
  std::int64_t current_ = 0, peak_ = 0;
  std::size_t kind_ = 0;  // of what is allocated now
  std::uint64_t id_;
};

}  // namespace graft::memory
