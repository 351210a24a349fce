// What Dir and File promise, proven of the system's and of the fake one alike.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "os/fake_disk.h"
#include "os/file.h"

namespace caddis::os {
namespace {

struct Backend {
  virtual ~Backend() = default;
  virtual std::unique_ptr<Dir> root() = 0;
};

struct SystemBackend final : Backend {
  SystemBackend() {
    std::string pattern = std::filesystem::temp_directory_path() / "caddis-dir-XXXXXX";
    path = ::mkdtemp(pattern.data());
  }
  ~SystemBackend() override { std::filesystem::remove_all(path); }
  std::unique_ptr<Dir> root() override { return std::move(open_system_dir(path)).value(); }
  std::string path;
};

struct FakeBackend final : Backend {
  std::unique_ptr<Dir> root() override { return disk.root(); }
  FakeDisk disk;
};

class DirContract : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "system")
      backend_ = std::make_unique<SystemBackend>();
    else
      backend_ = std::make_unique<FakeBackend>();
    dir_ = backend_->root();
  }
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Dir> dir_;
};
INSTANTIATE_TEST_SUITE_P(Both, DirContract, testing::Values("system", "fake"),
                         [](const auto& info) { return info.param; });

template <class T>
ErrorCode code_of(const Result<T>& r) {
  return r ? ErrorCode::kInternal : r.error().code();
}
template <class T>
int errno_of(const Result<T>& r) {
  return r ? 0 : r.error().sys_errno();
}

std::string text_of(Dir& dir, std::string_view name) {
  Result<Bytes> content = read_file(dir, name);
  return content ? std::string(as_text(*content)) : "error: " + content.error().message();
}

TEST_P(DirContract, OpenModesCreateKeepOrEmptyAsNamed) {
  EXPECT_EQ(code_of(dir_->open("a", OpenMode::kRead)), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(dir_->open("a", OpenMode::kReadWrite)), ErrorCode::kNotFound);
  ASSERT_TRUE(dir_->open("a", OpenMode::kCreateNew).value()->pwrite(as_bytes("hello"), 0));
  EXPECT_EQ(code_of(dir_->open("a", OpenMode::kCreateNew)), ErrorCode::kExists);
  EXPECT_EQ(dir_->open("a", OpenMode::kCreate).value()->size_bytes().value(), 5u);
  EXPECT_EQ(dir_->open("a", OpenMode::kReadWrite).value()->size_bytes().value(), 5u);
  EXPECT_EQ(dir_->open("a", OpenMode::kTruncate).value()->size_bytes().value(), 0u);
}

TEST_P(DirContract, AFileOpenedForReadingRefusesWrites) {
  ASSERT_TRUE(dir_->open("a", OpenMode::kCreate));
  std::unique_ptr<File> file = dir_->open("a", OpenMode::kRead).value();
  EXPECT_EQ(errno_of(file->pwrite(as_bytes("x"), 0)), EBADF);
  EXPECT_EQ(errno_of(file->truncate(7)), EINVAL);
}

TEST_P(DirContract, AHoleReadsAsZerosAndAReadIsShortOnlyAtTheEnd) {
  std::unique_ptr<File> file = dir_->open("a", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(as_bytes("end"), 1u << 30));
  EXPECT_EQ(file->size_bytes().value(), (1u << 30) + 3);
  Bytes hole(5000, 0xff);
  EXPECT_EQ(file->pread(hole, (1u << 30) - 4999).value(), 5000u);
  EXPECT_EQ(hole, [] {
    Bytes b(5000, 0);
    b.back() = 'e';
    return b;
  }());
  EXPECT_EQ(file->pread(hole, (1u << 30) + 1).value(), 2u);
  EXPECT_EQ(file->pread(hole, (1u << 30) + 3).value(), 0u);
  EXPECT_EQ(code_of(read_exactly(*file, hole, 1u << 30)), ErrorCode::kCorrupt);
}

TEST_P(DirContract, TruncateCutsAndExtendsWithZeros) {
  std::unique_ptr<File> file = dir_->open("a", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(Bytes(10'000, 'x'), 0));
  ASSERT_TRUE(file->truncate(4100));
  ASSERT_TRUE(file->truncate(4102));
  Bytes tail(8);
  EXPECT_EQ(file->pread(tail, 4098).value(), 4u);
  EXPECT_EQ(tail, (Bytes{'x', 'x', 0, 0, 0, 0, 0, 0}));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(file->datasync());
}

TEST_P(DirContract, RenameReplacesAndKeepsTheOpenFile) {
  std::unique_ptr<File> file = dir_->open("new", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(as_bytes("new"), 0));
  ASSERT_TRUE(dir_->open("old", OpenMode::kCreate).value()->pwrite(as_bytes("old"), 0));
  ASSERT_TRUE(dir_->rename("new", "old"));
  EXPECT_EQ(text_of(*dir_, "old"), "new");
  ASSERT_TRUE(file->pwrite(as_bytes("er"), 3));
  EXPECT_EQ(text_of(*dir_, "old"), "newer");
  EXPECT_EQ(code_of(dir_->rename("new", "x")), ErrorCode::kNotFound);
  EXPECT_TRUE(dir_->rename("old", "old"));
}

TEST_P(DirContract, RenameMovesBetweenDirectories) {
  std::unique_ptr<Dir> sub = dir_->make_dir("sub").value();
  ASSERT_TRUE(write_file_durably(*dir_, "a", as_bytes("1")));
  ASSERT_TRUE(dir_->rename("a", *sub, "b"));
  EXPECT_EQ(dir_->list().value(), std::vector<std::string>{"sub"});
  EXPECT_EQ(text_of(*sub, "b"), "1");
}

TEST_P(DirContract, RenameRefusesToMixFilesAndDirectories) {
  std::unique_ptr<Dir> full = dir_->make_dir("full").value();
  ASSERT_TRUE(full->make_dir("inner"));
  ASSERT_TRUE(dir_->make_dir("empty"));
  ASSERT_TRUE(dir_->open("file", OpenMode::kCreate));
  EXPECT_EQ(errno_of(dir_->rename("file", "empty")), EISDIR);
  EXPECT_EQ(errno_of(dir_->rename("empty", "file")), ENOTDIR);
  EXPECT_EQ(errno_of(dir_->rename("empty", "full")), ENOTEMPTY);
  EXPECT_EQ(errno_of(dir_->rename("full", *full, "self")), EINVAL);
  EXPECT_TRUE(dir_->rename("full", "empty"));
}

TEST_P(DirContract, FilesAndDirectoriesAreNotTakenForEachOther) {
  ASSERT_TRUE(dir_->make_dir("sub"));
  ASSERT_TRUE(dir_->open("file", OpenMode::kCreate));
  EXPECT_EQ(errno_of(dir_->open("sub", OpenMode::kReadWrite)), EISDIR);
  EXPECT_EQ(errno_of(dir_->open_dir("file")), ENOTDIR);
  EXPECT_EQ(errno_of(dir_->make_dir("file")), ENOTDIR);
  EXPECT_EQ(errno_of(dir_->unlink("sub")), EISDIR);
  EXPECT_EQ(code_of(dir_->open_dir("none")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(dir_->unlink("none")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(dir_->info("none")), ErrorCode::kNotFound);
}

TEST_P(DirContract, MakeDirOpensOneThatIsThere) {
  ASSERT_TRUE(dir_->make_dir("sub").value()->open("a", OpenMode::kCreate));
  EXPECT_EQ(dir_->make_dir("sub").value()->list().value(), std::vector<std::string>{"a"});
  EXPECT_EQ(dir_->open_dir("sub").value()->path(), dir_->path() + "/sub");
}

TEST_P(DirContract, RemoveTreeTakesAFileOrAllBelowADirectory) {
  std::unique_ptr<Dir> sub = dir_->make_dir("sub").value();
  ASSERT_TRUE(sub->make_dir("inner").value()->open("a", OpenMode::kCreate));
  ASSERT_TRUE(sub->open("b", OpenMode::kCreate));
  ASSERT_TRUE(dir_->open("c", OpenMode::kCreate));
  EXPECT_TRUE(dir_->remove_tree("sub"));
  EXPECT_EQ(dir_->list().value(), std::vector<std::string>{"c"});
  EXPECT_TRUE(dir_->remove_tree("c"));
  EXPECT_EQ(code_of(dir_->remove_tree("c")), ErrorCode::kNotFound);
}

TEST_P(DirContract, ListIsSortedAndInfoTellsSizeKindAndTime) {
  for (const char* name : {"b", "a", ".c"}) ASSERT_TRUE(dir_->open(name, OpenMode::kCreate));
  ASSERT_TRUE(dir_->make_dir("d"));
  EXPECT_EQ(dir_->list().value(), (std::vector<std::string>{".c", "a", "b", "d"}));
  ASSERT_TRUE(dir_->open("a", OpenMode::kCreate).value()->pwrite(as_bytes("1234567"), 0));
  ASSERT_TRUE(dir_->set_mtime("a", 1'234'567'890'123));
  FileInfo info = dir_->info("a").value();
  EXPECT_EQ(info.size_bytes, 7u);
  EXPECT_EQ(info.mtime_ms, 1'234'567'890'123);
  EXPECT_FALSE(info.is_dir);
  EXPECT_TRUE(dir_->info("d").value().is_dir);
  EXPECT_NE(info.inode, dir_->info("b").value().inode);
}

TEST_P(DirContract, AnUnlinkedFileStaysReadableThroughItsHandle) {
  std::unique_ptr<File> file = dir_->open("a", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(as_bytes("still"), 0));
  ASSERT_TRUE(dir_->unlink("a"));
  Bytes content(5);
  EXPECT_TRUE(read_exactly(*file, content, 0));
  EXPECT_EQ(as_text(content), "still");
}

TEST_P(DirContract, WriteFileDurablyReplacesAndLeavesNoTemporaryFile) {
  ASSERT_TRUE(write_file_durably(*dir_, "a", as_bytes("one, longer")));
  ASSERT_TRUE(write_file_durably(*dir_, "a", as_bytes("two")));
  EXPECT_EQ(text_of(*dir_, "a"), "two");
  EXPECT_EQ(dir_->list().value(), std::vector<std::string>{"a"});
  EXPECT_EQ(code_of(read_file(*dir_, "a", 2)), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace caddis::os
