// What only the system's Dir has: paths, symlinks, modes, errors of the kernel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "os/file.h"

namespace caddis::os {
namespace {

class SystemDirTest : public testing::Test {
 protected:
  SystemDirTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "caddis-system-dir-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~SystemDirTest() override { std::filesystem::remove_all(path_); }
  std::string path_;
};

mode_t mode_of(const std::string& path) {
  struct stat st{};
  EXPECT_EQ(::lstat(path.c_str(), &st), 0);
  return st.st_mode & 07777;
}

TEST_F(SystemDirTest, MakesParentsThatOnlyTheOwnerMayEnter) {
  ASSERT_TRUE(make_system_dir(path_ + "/a/b/c"));
  ASSERT_TRUE(make_system_dir(path_ + "/a/b/c"));
  EXPECT_EQ(mode_of(path_ + "/a"), 0700u);
  EXPECT_EQ(mode_of(path_ + "/a/b/c"), 0700u);
}

TEST_F(SystemDirTest, FilesAndDirectoriesBelongToTheOwnerOnly) {
  std::unique_ptr<Dir> dir = open_system_dir(path_).value();
  ASSERT_TRUE(dir->open("f", OpenMode::kCreate));
  ASSERT_TRUE(dir->make_dir("d"));
  EXPECT_EQ(mode_of(path_ + "/f"), 0600u);
  EXPECT_EQ(mode_of(path_ + "/d"), 0700u);
}

TEST_F(SystemDirTest, NeverFollowsASymlink) {
  std::ofstream(path_ + "/target") << "secret";
  std::filesystem::create_directory(path_ + "/real");
  std::filesystem::create_symlink(path_ + "/target", path_ + "/link");
  std::filesystem::create_directory_symlink(path_ + "/real", path_ + "/dirlink");
  std::unique_ptr<Dir> dir = open_system_dir(path_).value();
  EXPECT_EQ(dir->open("link", OpenMode::kRead).error().sys_errno(), ELOOP);
  EXPECT_FALSE(dir->open_dir("dirlink"));
  ASSERT_TRUE(dir->remove_tree("dirlink"));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/real"));
}

TEST_F(SystemDirTest, AnErrorNamesThePathAndTheCause) {
  EXPECT_EQ(open_system_dir(path_ + "/none").error().message(),
            "open directory " + path_ + "/none: No such file or directory");
  std::ofstream(path_ + "/file") << "x";
  EXPECT_EQ(make_system_dir(path_ + "/file/sub").error().sys_errno(), ENOTDIR);
}

TEST_F(SystemDirTest, DescriptorsAreNotInheritedByChildren) {
  std::unique_ptr<Dir> dir = open_system_dir(path_).value();
  std::unique_ptr<File> file = dir->open("f", OpenMode::kCreate).value();
  EXPECT_EQ(::fcntl(file->fd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(SystemDirTest, AFullDiskIsNoSpaceWithItsErrno) {
  std::unique_ptr<Dir> dir = open_system_dir("/dev").value();
  Status status = dir->open("full", OpenMode::kReadWrite).value()->pwrite(as_bytes("x"), 0);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(to_errno(status.error()), ENOSPC);
}

}  // namespace
}  // namespace caddis::os
