// SPDX-License-Identifier: Apache-2.0
#include "support/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::support {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryMark = ".tmp-";

[[noreturn]] void fail(std::string_view what, const fs::path& path, const std::error_code& reason) {
  throw UserError(cat("cannot ", what, " ", path, ": ", reason.message()));
}

[[noreturn]] void fail(std::string_view what, const fs::path& path) {
  fail(what, path, std::error_code(errno, std::generic_category()));
}

// A file descriptor that is closed at the end of the scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Descriptor open_for_reading(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open", path);
  return Descriptor(fd);
}

struct stat status_of_regular_file(int fd, const fs::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) fail("inspect", path);
  if (S_ISDIR(status.st_mode))
    throw UserError(cat("cannot read ", path, ": it is a directory, expected a file"));
  return status;
}

void write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("write", path);
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

// Directories are flushed too: without it a rename can be lost in a power cut. File systems that refuse to
// (EINVAL) are taken as they are.
void flush(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail("open", path);
  if (::fsync(file.get()) != 0 && errno != EINVAL && errno != ENOTSUP) fail("flush", path);
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

// mkstemp and mkdtemp make private entries; what is renamed into place shall have the usual permissions.
mode_t usual_mode(mode_t base) {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return base & ~mask;
}

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

void remove_quietly(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log_warn(cat("could not remove ", path, ": ", error.message()));
}

}  // namespace

std::string read_file(const fs::path& path) {
  const Descriptor file = open_for_reading(path);
  const struct stat status = status_of_regular_file(file.get(), path);
  std::string out;
  out.reserve(static_cast<std::size_t>(std::max<off_t>(status.st_size, 0)));
  char buffer[1 << 16];
  for (;;) {  // by reading, not by st_size: pipes and /proc report a size of 0
    const ssize_t count = ::read(file.get(), buffer, sizeof(buffer));
    if (count == 0) return out;
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("read", path);
    }
    out.append(buffer, static_cast<std::size_t>(count));
  }
}

void write_file_atomic(const fs::path& path, std::string_view bytes) {
  write_file_atomic(path, std::span(&bytes, 1));
}

void write_file_atomic(const fs::path& path, std::span<const std::string_view> pieces) {
  std::string name = cat(path, kTemporaryMark, "XXXXXX");
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) fail("write", path);
  try {
    const Descriptor file(fd);
    for (const std::string_view bytes : pieces) write_all(fd, bytes, path);
    if (::fchmod(fd, usual_mode(0666)) != 0) fail("set the permissions of", path);
    if (::fsync(fd) != 0 && errno != EINVAL) fail("flush", path);
  } catch (...) {
    ::unlink(name.c_str());
    throw;
  }
  if (::rename(name.c_str(), path.c_str()) != 0) {
    const std::error_code reason(errno, std::generic_category());
    ::unlink(name.c_str());
    fail("write", path, reason);
  }
  flush(parent_of(path));
}

void write_file(const fs::path& path, std::string_view bytes) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("write", path);
  write_all(file.get(), bytes, path);
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("make the directory", path, error);
  if (!fs::is_directory(path)) throw UserError(cat("cannot use ", path, " as a directory: it is a file"));
}

std::vector<fs::path> list_files(const fs::path& directory, std::string_view suffix) {
  std::error_code error;
  std::vector<fs::path> out;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file() && it->path().filename().string().ends_with(suffix)) out.push_back(it->path());
  }
  if (error) fail("list", directory, error);
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<fs::path> list_directories(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> out;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->is_directory() && !is_temporary_name(it->path())) out.push_back(it->path());
  }
  if (error) fail("list", directory, error);
  std::sort(out.begin(), out.end());
  return out;
}

bool is_temporary_name(const fs::path& path) {
  const std::string name = path.filename().string();
  const std::size_t at = name.rfind(kTemporaryMark);
  return at != std::string::npos && name.size() == at + kTemporaryMark.size() + 6;
}

AtomicDirectory::AtomicDirectory(const fs::path& target) : target_(without_trailing_slash(target)) {
  make_directories(parent_of(target_));
  std::string name = cat(target_, kTemporaryMark, "XXXXXX");
  if (::mkdtemp(name.data()) == nullptr) fail("make the directory", target_);
  temporary_ = name;
  ::chmod(name.c_str(), usual_mode(0777));
}

AtomicDirectory::~AtomicDirectory() {
  if (!temporary_.empty()) remove_quietly(temporary_);
}

AtomicDirectory::AtomicDirectory(AtomicDirectory&& other) noexcept
    : target_(std::move(other.target_)), temporary_(std::exchange(other.temporary_, fs::path())) {}

void AtomicDirectory::commit(Flush flush_files) {
  if (flush_files == Flush::kYes) {
    for (const auto& entry : fs::recursive_directory_iterator(temporary_)) {
      if (entry.is_regular_file() || entry.is_directory()) flush(entry.path());
    }
    flush(temporary_);
  }
  const bool exists = fs::exists(fs::symlink_status(target_));
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), exists ? RENAME_EXCHANGE : 0) ==
      0) {
    const fs::path old = std::exchange(temporary_, fs::path());
    flush(parent_of(target_));
    if (exists) remove_quietly(old);  // after the exchange the temporary name holds the previous directory
    return;
  }
  if (!exists || (errno != EINVAL && errno != ENOSYS)) fail("rename the finished directory to", target_);
  // No exchange on this file system: two renames, with a moment in which the target does not exist.
  const fs::path old = cat(temporary_.string(), "-old");
  if (::rename(target_.c_str(), old.c_str()) != 0) fail("replace", target_);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("rename the finished directory to", target_);
  temporary_.clear();
  flush(parent_of(target_));
  remove_quietly(old);
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const Descriptor file = open_for_reading(path);
  const struct stat status = status_of_regular_file(file.get(), path);
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;  // mmap refuses a length of 0
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail("map", path);
  data_ = data;
}

void MappedFile::release(std::size_t offset, std::size_t size) const {
  if (offset >= size_ || size == 0) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = offset / page * page;
  const std::size_t end = offset + std::min(size, size_ - offset);
  // A hint: without it the pages only stay longer.
  (void)::madvise(static_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace graft::support
