// SPDX-License-Identifier: Apache-2.0
#include "memory/ledger.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>

namespace graft::memory {

namespace {

Ledger* active = nullptr;
std::atomic<std::uint64_t> n_ledgers = 0;

// LibTorch's CPU allocator aligns to 64 bytes, and the C library keeps some beside each block.
constexpr std::size_t kAlignment = 64;

std::int64_t rounded(std::size_t bytes) {
  return static_cast<std::int64_t>((bytes + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

// Blocks without memory that tell the active ledger of their begin and end.
class MetaAllocator final : public c10::Allocator {
 public:
  struct Block {
    std::uint64_t ledger;
    std::size_t kind;
    std::int64_t bytes;
  };

  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device device(c10::kMeta);
    if (active == nullptr) return {nullptr, nullptr, &release, device};
    auto* const block = new Block{active->id_, active->kind_, rounded(bytes)};
    active->change(block->kind, block->bytes);
    return {nullptr, block, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void*, const void*, std::size_t) const override {}

  static Block* block_of(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_meta() || active == nullptr) return nullptr;
    auto* const block = static_cast<Block*>(tensor.storage().data_ptr().get_context());
    return block != nullptr && block->ledger == active->id_ ? block : nullptr;
  }
  static void relabel(Block& block, std::size_t kind) {
    active->change(block.kind, -block.bytes);
    block.kind = kind;
    active->change(block.kind, block.bytes);
  }

 private:
  static void release(void* context) {
    auto* const block = static_cast<Block*>(context);
    if (block == nullptr) return;
    if (active != nullptr && active->id_ == block->ledger) active->change(block->kind, -block->bytes);
    delete block;
  }
};

namespace {

void install_allocator() {
  static MetaAllocator* const allocator = [] {
    auto* const made = new MetaAllocator();  // blocks may be released at exit
    c10::SetAllocator(c10::kMeta, made, /*priority=*/1);
    return made;
  }();
  (void)allocator;
}

}  // namespace

Ledger::Ledger() : id_(++n_ledgers) {
  if (active != nullptr) throw std::logic_error("Ledger: another one is active");
  install_allocator();
  kind("other");
  active = this;
}

Ledger::~Ledger() {
  active = nullptr;
}

Ledger::Scope::Scope(Ledger& ledger, const std::string& name) : ledger_(ledger), former_(ledger.kind_) {
  ledger.kind_ = ledger.kind(name);
}

Ledger::Scope::~Scope() {
  ledger_.kind_ = former_;
}

void Ledger::relabel(const at::Tensor& tensor, const std::string& name) {
  MetaAllocator::Block* const block = MetaAllocator::block_of(tensor);
  if (block != nullptr) MetaAllocator::relabel(*block, kind(name));
}

void Ledger::add(const std::string& name, std::int64_t bytes) {
  change(kind(name), bytes);
}

void Ledger::reset_peak() {
  peak_ = current_;
  bytes_at_peak_ = bytes_;
}

std::size_t Ledger::kind(const std::string& name) {
  const auto at = std::find(names_.begin(), names_.end(), name);
  if (at != names_.end()) return static_cast<std::size_t>(at - names_.begin());
  names_.push_back(name);
  bytes_.push_back(0);
  return names_.size() - 1;
}

void Ledger::change(std::size_t kind, std::int64_t bytes) {
  bytes_[kind] += bytes;
  current_ += bytes;
  if (current_ <= peak_) return;
  peak_ = current_;
  bytes_at_peak_ = bytes_;
}

std::map<std::string, std::int64_t> Ledger::named(const std::vector<std::int64_t>& bytes) const {
  std::map<std::string, std::int64_t> out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != 0) out[names_[i]] = bytes[i];
  }
  return out;
}

}  // namespace graft::memory
