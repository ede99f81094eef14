// SPDX-License-Identifier: Apache-2.0
#include "support/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <utility>

#include "support/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::support {
namespace {

namespace fs = std::filesystem;
using test::contains;
using test::message_of;
using test::TemporaryDirectory;

std::vector<std::string> names(const std::vector<fs::path>& paths) {
  std::vector<std::string> out;
  for (const fs::path& path : paths) out.push_back(path.filename().string());
  return out;
}

TEST(Files, ReadReturnsAllBytes) {
  const TemporaryDirectory dir;
  const std::string bytes("a\0b\n", 4);
  EXPECT_EQ(read_file(dir.write("x", bytes)), bytes);
  EXPECT_EQ(read_file(dir.write("empty", "")), "");
  EXPECT_FALSE(read_file("/proc/self/status").empty());  // reports a size of 0
}

TEST(Files, ErrorsNameThePathAndTheReason) {
  const TemporaryDirectory dir;
  const std::string missing = message_of<UserError>([&] { (void)read_file(dir / "none"); });
  EXPECT_TRUE(contains(missing, (dir / "none").string()));
  EXPECT_TRUE(contains(missing, "No such file"));
  EXPECT_TRUE(contains(message_of<UserError>([&] { (void)read_file(dir.path()); }), "is a directory"));
  EXPECT_TRUE(
      contains(message_of<UserError>([&] { write_file_atomic(dir / "no/such/x", "y"); }), "no/such/x"));
  const std::string file = dir.write("file", "");
  EXPECT_THROW(make_directories(fs::path(file) / "below"), UserError);
  EXPECT_THROW((void)list_files(dir / "none"), UserError);
}

TEST(Files, WriteAtomicReplacesAndLeavesNothingElse) {
  const TemporaryDirectory dir;
  write_file_atomic(dir / "x", "one");
  write_file_atomic(dir / "x", "two");
  EXPECT_EQ(read_file(dir / "x"), "two");
  EXPECT_EQ(names(list_files(dir.path())), (std::vector<std::string>{"x"}));
  struct stat status {};
  ASSERT_EQ(::stat((dir / "x").c_str(), &status), 0);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  EXPECT_EQ(status.st_mode & 0777U, 0666U & ~mask);
}

TEST(Files, AFailedWriteKeepsTheOldFile) {
  const TemporaryDirectory dir;
  fs::create_directories(dir / "x/inside");  // a directory cannot be replaced by a file
  EXPECT_THROW(write_file_atomic(dir / "x", "bytes"), UserError);
  EXPECT_TRUE(fs::is_directory(dir / "x/inside"));
  EXPECT_TRUE(list_files(dir.path()).empty());
}

TEST(Files, ListsAreSortedAndFiltered) {
  const TemporaryDirectory dir;
  dir.write("b.so", "");
  dir.write("a.so", "");
  dir.write("c.txt", "");
  fs::create_directories(dir / "step-2");
  fs::create_directories(dir / "step-1");
  fs::create_directories(dir / "step-3.tmp-abcDEF");
  EXPECT_EQ(names(list_files(dir.path(), ".so")), (std::vector<std::string>{"a.so", "b.so"}));
  EXPECT_EQ(names(list_directories(dir.path())), (std::vector<std::string>{"step-1", "step-2"}));
}

TEST(AtomicDirectory, AppearsOnCommitOnly) {
  const TemporaryDirectory dir;
  {
    AtomicDirectory out(dir / "sub/run");
    write_file(out.path() / "x", "1");
    EXPECT_FALSE(fs::exists(dir / "sub/run"));
    EXPECT_TRUE(is_temporary_name(out.path()));
    out.commit();
  }
  EXPECT_EQ(read_file(dir / "sub/run/x"), "1");
  EXPECT_EQ(list_directories(dir / "sub").size(), 1U);
}

TEST(AtomicDirectory, LeavesNothingWithoutCommit) {
  const TemporaryDirectory dir;
  {
    const AtomicDirectory out(dir / "run");
    write_file(out.path() / "x", "1");
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(AtomicDirectory, CommitReplacesTheWholeTarget) {
  const TemporaryDirectory dir;
  dir.write("run/old", "old");
  AtomicDirectory out(dir / "run/");
  write_file(out.path() / "new", "new");
  out.commit(AtomicDirectory::Flush::kNo);
  EXPECT_EQ(names(list_files(dir / "run")), (std::vector<std::string>{"new"}));
  EXPECT_EQ(list_directories(dir.path()).size(), 1U);
  for (const auto& entry : fs::directory_iterator(dir.path())) EXPECT_FALSE(is_temporary_name(entry.path()));
}

TEST(AtomicDirectory, AMovedFromOneOwnsNothing) {
  const TemporaryDirectory dir;
  AtomicDirectory first(dir / "run");
  AtomicDirectory second(std::move(first));
  write_file(second.path() / "x", "1");
  second.commit();
  EXPECT_TRUE(fs::exists(dir / "run/x"));
}

TEST(MappedFile, GivesTheBytesAlsoAfterRemoval) {
  const TemporaryDirectory dir;
  const std::string path = dir.write("x", "hello");
  const MappedFile file(path);
  fs::remove(path);
  EXPECT_EQ(file.text(), "hello");
  EXPECT_EQ(file.bytes().size(), 5U);
}

TEST(MappedFile, AcceptsAnEmptyFileAndRefusesWhatIsNoFile) {
  const TemporaryDirectory dir;
  EXPECT_EQ(MappedFile(dir.write("empty", "")).text(), "");
  EXPECT_THROW(MappedFile{dir / "none"}, UserError);
  EXPECT_THROW(MappedFile{dir.path()}, UserError);
}

TEST(MappedFile, MovesItsMapping) {
  const TemporaryDirectory dir;
  MappedFile a(dir.write("a", "aa"));
  MappedFile b(std::move(a));
  MappedFile c(dir.write("c", "ccc"));
  c = std::move(b);
  EXPECT_EQ(c.text(), "aa");
}

}  // namespace
}  // namespace graft::support
