// SPDX-License-Identifier: Apache-2.0
#include "memory/offload.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/hooks.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::memory {

namespace {

namespace fs = std::filesystem;
using support::cat;
using torch::autograd::SavedVariableHooks;

std::string reason() {
  return std::strerror(errno);
}

// A file without a name; the system frees it when the last descriptor closes.
int open_nameless(const fs::path& directory) {
  const int file = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0) return file;
  std::string name = (directory / "graft-offload-XXXXXX").string();  // file systems without O_TMPFILE
  const int named = ::mkstemp(name.data());
  if (named < 0) {
    throw support::UserError(cat("cannot make a file for offloaded activations in ", directory, ": ",
                                 reason(), "; set TMPDIR to a directory with space for them"));
  }
  ::unlink(name.c_str());
  return named;
}

c10::intrusive_ptr<c10::StorageImpl> share_memory(const at::Tensor& tensor) {
  return c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(tensor.storage().unsafeGetStorageImpl());
}

// True if a tensor takes at least half of the memory that it lies in: then all of that is written, and what shares it with it.
bool covers_storage(const at::Tensor& tensor) {
  return 2 * tensor.numel() * static_cast<std::int64_t>(tensor.element_size()) >=
         static_cast<std::int64_t>(tensor.storage().nbytes());
}

}  // namespace

// Free ranges of the file, by offset. A range that ends at the file's end is not in the map.
struct OffloadFile::State {
  int file = -1;
  fs::path directory;
  mutable std::mutex mutex;
  std::map<std::int64_t, std::int64_t> free;  // offset -> bytes
  std::int64_t end = 0;
  std::int64_t bytes = 0, bytes_written = 0;

  struct Known {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;
    std::weak_ptr<Offloaded::Block> block;
    std::int64_t version;
  };
  std::unordered_map<const c10::StorageImpl*, Known> known;  // memory that is in the file
  std::size_t n_known_to_sweep = 64;

  std::int64_t take(std::int64_t n_bytes) {
    bytes += n_bytes;
    for (auto range = free.begin(); range != free.end(); ++range) {
      if (range->second < n_bytes) continue;
      const auto [offset, length] = *range;
      free.erase(range);
      if (length > n_bytes) free[offset + n_bytes] = length - n_bytes;
      return offset;
    }
    const std::int64_t offset = end;
    end += n_bytes;
    return offset;
  }

  void give_back(std::int64_t offset, std::int64_t n_bytes) {
    bytes -= n_bytes;
    auto range = free.emplace(offset, n_bytes).first;
    if (const auto next = std::next(range); next != free.end() && offset + n_bytes == next->first) {
      range->second += next->second;
      free.erase(next);
    }
    if (range != free.begin()) {
      const auto before = std::prev(range);
      if (before->first + before->second == offset) {
        before->second += range->second;
        free.erase(range);
        range = before;
      }
    }
    if (range->first + range->second == end) {
      end = range->first;
      free.erase(range);
    }
  }

  void sweep() {
    if (known.size() < n_known_to_sweep) return;
    for (auto item = known.begin(); item != known.end();) {
      item = item->second.block.expired() ? known.erase(item) : std::next(item);
    }
    n_known_to_sweep = 2 * known.size() + 64;
  }
};

// A range of the file, in use while one of its tensors may be loaded.
struct Offloaded::Block {
  std::shared_ptr<OffloadFile> file;
  std::int64_t offset = 0;
  std::int64_t n_bytes = 0;
  std::mutex mutex;
  c10::weak_intrusive_ptr<c10::StorageImpl> loaded{c10::intrusive_ptr<c10::StorageImpl>()};

  ~Block() {
    const std::lock_guard lock(file->state_->mutex);
    file->state_->give_back(offset, n_bytes);
  }

  void write(const void* data) const {
    const auto* bytes = static_cast<const char*>(data);
    for (std::int64_t done = 0; done < n_bytes;) {
      const ssize_t n =
          ::pwrite(file->state_->file, bytes + done, static_cast<std::size_t>(n_bytes - done), offset + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        throw support::UserError(cat("cannot write offloaded activations to a file in ",
                                     file->state_->directory, ": ", reason(), " after ", file->bytes(),
                                     " bytes; set TMPDIR to a directory with space for them"));
      }
      done += n;
    }
  }

  void read(void* data) const {
    auto* bytes = static_cast<char*>(data);
    for (std::int64_t done = 0; done < n_bytes;) {
      const ssize_t n =
          ::pread(file->state_->file, bytes + done, static_cast<std::size_t>(n_bytes - done), offset + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        throw support::UserError(cat("cannot read offloaded activations back from a file in ",
                                     file->state_->directory, ": ", reason()));
      }
      done += n;
    }
  }
};

at::Tensor Offloaded::load() const {
  if (block_ == nullptr) {  // a tensor without values
    return at::empty_strided(sizes_, strides_, at::TensorOptions(dtype_).device(at::kMeta));
  }
  const std::lock_guard lock(block_->mutex);
  auto memory = block_->loaded.lock();
  at::Tensor bytes;
  if (memory == nullptr) {
    bytes = at::empty({block_->n_bytes}, at::kByte);
    block_->read(bytes.mutable_data_ptr());
    memory = share_memory(bytes);
    block_->loaded = c10::weak_intrusive_ptr<c10::StorageImpl>(memory);
  }
  at::Tensor tensor = at::empty({0}, at::TensorOptions(dtype_));
  tensor.set_(c10::Storage(memory), offset_, sizes_, strides_);
  return tensor;
}

OffloadFile::OffloadFile() : state_(std::make_unique<State>()) {
  state_->directory = fs::temp_directory_path();
  state_->file = open_nameless(state_->directory);
}

OffloadFile::~OffloadFile() {
  ::close(state_->file);
}

bool OffloadFile::takes(const at::Tensor& tensor) {
  return (tensor.is_cpu() || tensor.is_meta()) && tensor.layout() == at::kStrided && tensor.has_storage() &&
         tensor.numel() * static_cast<std::int64_t>(tensor.element_size()) >= kSmallestBytes;
}

Offloaded OffloadFile::store(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  const bool is_whole = covers_storage(tensor);
  const at::Tensor stored = is_whole ? tensor : tensor.contiguous();
  const c10::StorageImpl* const memory = stored.storage().unsafeGetStorageImpl();
  Offloaded out;
  out.sizes_ = stored.sizes().vec();
  out.strides_ = stored.strides().vec();
  out.offset_ = stored.storage_offset();
  out.dtype_ = stored.scalar_type();
  if (tensor.is_meta()) return out;
  {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->known.find(memory);
    if (is_whole && found != state_->known.end() && found->second.version == tensor._version()) {
      // The address alone could be that of newer memory.
      if (!found->second.storage.expired()) out.block_ = found->second.block.lock();
    }
    if (out.block_ != nullptr) return out;
    out.block_ = std::make_shared<Offloaded::Block>();
    out.block_->n_bytes = static_cast<std::int64_t>(stored.storage().nbytes());
    out.block_->offset = state_->take(out.block_->n_bytes);
    out.block_->file = shared_from_this();
    state_->bytes_written += out.block_->n_bytes;
  }
  out.block_->write(stored.storage().data());
  if (!is_whole) return out;
  const std::lock_guard lock(state_->mutex);
  state_->sweep();
  state_->known.insert_or_assign(
      memory, State::Known{c10::weak_intrusive_ptr<c10::StorageImpl>(share_memory(stored)), out.block_,
                           tensor._version()});
  return out;
}

std::int64_t OffloadFile::bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->bytes;
}

std::int64_t OffloadFile::bytes_written() const {
  const std::lock_guard lock(state_->mutex);
  return state_->bytes_written;
}

namespace {

class OffloadHandler final : public SavedTensorHandler {
 public:
  explicit OffloadHandler(std::shared_ptr<OffloadFile> file) : file_(std::move(file)) {}

  std::unique_ptr<SavedVariableHooks> hooks() override { return std::make_unique<Saved>(file_); }

 private:
  class Saved : public SavedVariableHooks {
   public:
    explicit Saved(std::shared_ptr<OffloadFile> file) : file_(std::move(file)) {}
    void call_pack_hook(const at::Tensor& tensor) override {
      if (model::TouchedTensors::holds(tensor) || !OffloadFile::takes(tensor)) {
        kept_ = KeptTensor(tensor);
      } else {
        offloaded_ = file_->store(tensor);
      }
      file_.reset();
    }
    at::Tensor call_unpack_hook() override { return kept_.defined() ? kept_.get() : offloaded_.load(); }

   private:
    std::shared_ptr<OffloadFile> file_;
    KeptTensor kept_;
    Offloaded offloaded_;
  };

  std::shared_ptr<OffloadFile> file_;
};

}  // namespace

std::unique_ptr<SavedTensorHandler> offload_handler(std::shared_ptr<OffloadFile> file) {
  return std::make_unique<OffloadHandler>(std::move(file));
}

}  // namespace graft::memory
