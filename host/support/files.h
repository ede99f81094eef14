// SPDX-License-Identifier: Apache-2.0
// Files. Everything graft writes appears whole or not at all: bytes go to a temporary neighbour, are flushed
// to the disk, and are renamed into place. Failures throw UserError that names the path and the system's
// reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft::support {

// The whole file as bytes.
std::string read_file(const std::filesystem::path& path);

// Replaces `path` by a file with these bytes. The parent directory must exist.
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);
// The same for bytes that lie in several places, one after the other.
void write_file_atomic(const std::filesystem::path& path, std::span<const std::string_view> pieces);

// Writes a file in place, without flushing it to the disk: for files inside an AtomicDirectory. An existing
// file is overwritten.
void write_file(const std::filesystem::path& path, std::string_view bytes);

// Makes the directory and its parents if they are missing.
void make_directories(const std::filesystem::path& path);

// Regular files directly in `directory` whose name ends with `suffix` ("" for all), sorted by name.
std::vector<std::filesystem::path> list_files(const std::filesystem::path& directory,
                                              std::string_view suffix = "");

// Sub-directories directly in `directory`, sorted by name, without unfinished ones (see AtomicDirectory).
std::vector<std::filesystem::path> list_directories(const std::filesystem::path& directory);

// True for a name that AtomicDirectory or write_file_atomic uses before the rename.
bool is_temporary_name(const std::filesystem::path& path);

// A directory that appears under its name only when commit() is called. Until then its files live in
// `<target>.tmp-XXXXXX`, which the destructor removes if there was no commit. One owner; movable, not
// copyable.
class AtomicDirectory {
 public:
  // Makes the temporary directory, and the parents of `target` if they are missing.
  explicit AtomicDirectory(const std::filesystem::path& target);
  ~AtomicDirectory();
  AtomicDirectory(AtomicDirectory&& other) noexcept;
  AtomicDirectory& operator=(AtomicDirectory&&) = delete;
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  // Where to write now.
  const std::filesystem::path& path() const { return temporary_; }
  // Where it will be after commit().
  const std::filesystem::path& target() const { return target_; }

  // Flushes every file below path() to the disk (kNo: leaves that to the system, for what can be made again)
  // and renames the directory to target(); an existing target is exchanged in one step and then removed. Call
  // once.
  enum class Flush { kYes, kNo };
  void commit(Flush flush = Flush::kYes);

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty once committed or moved from
};

// A file mapped into memory for reading. The bytes stay valid while the object lives, also if the file is
// removed or replaced. Movable, not copyable; the bytes may be read from any thread.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Gives the pages that hold these bytes back to the system, so that they no longer count as resident. They stay
  // valid: reading them again fetches them from the file. Thread-safe.
  void release(std::size_t offset, std::size_t size) const;

 private:
  std::filesystem::path path_;
  void* data_ = nullptr;  // null for an empty file
  std::size_t size_ = 0;
};

}  // namespace graft::support
