#include "os/fake_disk.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <thread>

namespace caddis::os {
namespace {

std::string text_of(Dir& dir, std::string_view name) {
  Result<Bytes> content = read_file(dir, name);
  return content ? std::string(as_text(*content)) : "(" + std::string(error_code_name(content.error().code())) + ")";
}
void put(Dir& dir, std::string_view name, std::string_view text) {
  ASSERT_TRUE(dir.open(name, OpenMode::kCreate).value()->pwrite(as_bytes(text), 0));
}
void put_synced(Dir& dir, std::string_view name, std::string_view text) {
  std::unique_ptr<File> file = dir.open(name, OpenMode::kTruncate).value();
  ASSERT_TRUE(file->pwrite(as_bytes(text), 0));
  ASSERT_TRUE(file->sync());
}

TEST(FakeDisk, PowerLossForgetsUnsyncedContent) {
  FakeDisk disk;
  put_synced(*disk.root(), "a", "old");
  ASSERT_TRUE(disk.root()->sync());
  put(*disk.root(), "a", "newer");
  EXPECT_EQ(text_of(*disk.root(), "a"), "newer");
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "old");
}

TEST(FakeDisk, DatasyncKeepsContentAndSize) {
  FakeDisk disk;
  auto root = disk.root();
  put(*root, "a", "12345");
  auto file = root->open("a", OpenMode::kReadWrite).value();
  ASSERT_TRUE(file->truncate(3));
  ASSERT_TRUE(file->datasync());
  ASSERT_TRUE(root->sync());
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "123");
}

TEST(FakeDisk, SyncingAFileDoesNotKeepItsName) {
  FakeDisk disk;
  put_synced(*disk.root(), "a", "x");
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "(not found)");
}

TEST(FakeDisk, SyncingADirectoryKeepsNamesAndNotContent) {
  FakeDisk disk;
  put(*disk.root(), "a", "x");
  ASSERT_TRUE(disk.root()->sync());
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "");
}

TEST(FakeDisk, AnUnsyncedRenameAndUnlinkComeBack) {
  FakeDisk disk;
  auto root = disk.root();
  put_synced(*root, "a", "1");
  put_synced(*root, "b", "2");
  put_synced(*root, "c", "3");
  ASSERT_TRUE(root->sync());
  ASSERT_TRUE(root->rename("a", "b"));
  ASSERT_TRUE(root->unlink("c"));
  EXPECT_EQ(root->list().value(), std::vector<std::string>{"b"});
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "1");
  EXPECT_EQ(text_of(*disk.root(), "b"), "2");
  EXPECT_EQ(text_of(*disk.root(), "c"), "3");
}

TEST(FakeDisk, ARenameBetweenDirectoriesIsDurableWithEitherAndWithWhatItBuildsOn) {
  FakeDisk disk;
  auto root = disk.root();
  auto from = root->make_dir("from").value();
  auto to = root->make_dir("to").value();
  ASSERT_TRUE(root->sync());
  put_synced(*from, "tmp", "1");
  put_synced(*from, "other", "2");
  ASSERT_TRUE(from->rename("tmp", *to, "final"));
  ASSERT_TRUE(to->sync());
  disk.power_loss();
  EXPECT_EQ(disk.root()->open_dir("to").value()->list().value(), std::vector<std::string>{"final"});
  EXPECT_EQ(disk.root()->open_dir("from").value()->list().value(), std::vector<std::string>{"other"});
}

TEST(FakeDisk, AFileInAnUnsyncedDirectoryIsGoneWithIt) {
  FakeDisk disk;
  auto sub = disk.root()->make_dir("sub").value();
  put_synced(*sub, "a", "1");
  ASSERT_TRUE(sub->sync());
  disk.power_loss();
  EXPECT_EQ(disk.root()->list().value(), std::vector<std::string>{});
}

TEST(FakeDisk, WriteFileDurablySurvives) {
  FakeDisk disk;
  ASSERT_TRUE(write_file_durably(*disk.root(), "a", as_bytes("1")));
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "1");
  EXPECT_EQ(disk.root()->list().value(), std::vector<std::string>{"a"});
}

TEST(FakeDisk, HandlesFromBeforeTheLossAnswerEio) {
  FakeDisk disk;
  auto root = disk.root();
  auto file = root->open("a", OpenMode::kCreate).value();
  disk.power_loss();
  EXPECT_EQ(file->pwrite(as_bytes("x"), 0).error().sys_errno(), EIO);
  EXPECT_EQ(root->list().error().sys_errno(), EIO);
  EXPECT_EQ(root->open("b", OpenMode::kCreate).error().sys_errno(), EIO);
  disk.process_crash();
  EXPECT_EQ(disk.root()->list().value(), std::vector<std::string>{});
}

TEST(FakeDisk, AProcessCrashKeepsUnsyncedContent) {
  FakeDisk disk;
  put(*disk.root(), "a", "kept by the kernel");
  disk.process_crash();
  EXPECT_EQ(text_of(*disk.root(), "a"), "kept by the kernel");
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "(not found)");
}

TEST(FakeDisk, TheNthCallFailsAndOnlyThatOne) {
  FakeDisk disk;
  auto root = disk.root();
  auto file = root->open("a", OpenMode::kCreate).value();
  disk.fail(FaultOp::kWrite, 2, EIO);
  disk.fail(FaultOp::kRename, 1, EACCES);
  disk.fail(FaultOp::kOpen, 1, EMFILE, 2);
  EXPECT_TRUE(file->pwrite(as_bytes("1111"), 0));
  EXPECT_EQ(file->pwrite(as_bytes("2222"), 0).error().sys_errno(), EIO);
  EXPECT_TRUE(file->pwrite(as_bytes("3"), 3));
  Bytes content(4);
  ASSERT_TRUE(read_exactly(*file, content, 0));
  EXPECT_EQ(as_text(content), "2213");
  EXPECT_EQ(root->rename("a", "b").error().sys_errno(), EACCES);
  EXPECT_TRUE(root->rename("a", "b"));
  EXPECT_EQ(root->open("b", OpenMode::kRead).error().sys_errno(), EMFILE);
  EXPECT_EQ(root->open("b", OpenMode::kRead).error().sys_errno(), EMFILE);
  EXPECT_TRUE(root->open("b", OpenMode::kRead));
}

TEST(FakeDisk, AFailedSyncLosesTheContentEvenIfTheNextSucceeds) {
  FakeDisk disk;
  auto root = disk.root();
  auto file = root->open("a", OpenMode::kCreate).value();
  ASSERT_TRUE(root->sync());
  ASSERT_TRUE(file->pwrite(as_bytes("lost"), 0));
  disk.fail(FaultOp::kSync, 1, EIO);
  EXPECT_FALSE(file->sync());
  EXPECT_TRUE(file->sync());
  EXPECT_EQ(text_of(*root, "a"), "lost");
  disk.power_loss();
  EXPECT_EQ(text_of(*disk.root(), "a"), "");
}

TEST(FakeDisk, TheLimitAnswersEnospcAndLeavesTheBlocksThatFit) {
  FakeDisk disk;
  disk.set_limit_bytes(3 * 4096);
  auto root = disk.root();
  auto file = root->open("a", OpenMode::kCreate).value();
  EXPECT_EQ(file->pwrite(Bytes(5 * 4096, 'x'), 100).error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(file->size_bytes().value(), 3u * 4096);
  EXPECT_EQ(disk.used_bytes(), 3u * 4096);
  EXPECT_TRUE(file->pwrite(as_bytes("over what is there"), 0));
  EXPECT_FALSE(root->open("b", OpenMode::kCreate).value()->pwrite(as_bytes("x"), 0));
  ASSERT_TRUE(root->unlink("a"));
  EXPECT_TRUE(root->open("b", OpenMode::kCreate).value()->pwrite(as_bytes("x"), 0));
  disk.power_loss();
  EXPECT_EQ(disk.used_bytes(), 0u);
}

TEST(FakeDisk, CutPowerStopsEverythingAtThatChange) {
  for (std::uint64_t at = 1; at <= 5; ++at) {
    FakeDisk disk;
    disk.cut_power_at(at);
    Status status = write_file_durably(*disk.root(), "a", as_bytes("x"));  // create, write, fsync, rename, fsync
    EXPECT_FALSE(status) << at;
    EXPECT_EQ(disk.root()->list().error().sys_errno(), EIO);
    disk.power_loss();
    EXPECT_EQ(text_of(*disk.root(), "a"), "(not found)") << at;
    EXPECT_EQ(disk.change_count(), at);
  }
  FakeDisk disk;
  disk.cut_power_at(6);
  EXPECT_TRUE(write_file_durably(*disk.root(), "a", as_bytes("x")));
}

TEST(FakeDisk, ARandomLossIsRepeatableAndKeepsPartsSectorBySector) {
  auto lose = [](std::uint64_t seed) {
    FakeDisk disk;
    auto root = disk.root();
    auto file = root->open("a", OpenMode::kCreate).value();
    EXPECT_TRUE(file->pwrite(Bytes(4096, '0'), 0));
    EXPECT_TRUE(file->sync());
    EXPECT_TRUE(root->sync());
    EXPECT_TRUE(file->pwrite(Bytes(4096, '1'), 0));
    EXPECT_TRUE(root->rename("a", "b"));
    EXPECT_TRUE(root->open("c", OpenMode::kCreate));
    disk.power_loss(seed);
    std::string name = disk.root()->info("a") ? "a" : "b";
    return fmt::format("{} {} {}", fmt::join(disk.root()->list().value(), ","), name, text_of(*disk.root(), name));
  };
  std::set<std::string> seen;
  std::set<std::string> names;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::string result = lose(seed);
    EXPECT_EQ(result, lose(seed));
    seen.insert(result);
    names.insert(result.substr(0, result.find(' ')));
    std::string content = result.substr(result.rfind(' ') + 1);
    ASSERT_EQ(content.size(), 4096u);
    for (std::size_t i = 0; i < 4096; ++i) ASSERT_EQ(content[i], content[i / 512 * 512]);
  }
  EXPECT_GT(seen.size(), 50u);
  EXPECT_EQ(names, (std::set<std::string>{"a", "b", "b,c"}));
}

TEST(FakeDisk, ManyThreadsMayWriteAtOnce) {
  FakeDisk disk;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&disk, t] {
      auto root = disk.root();
      for (int i = 0; i < 50; ++i) EXPECT_TRUE(write_file_durably(*root, fmt::format("{}-{}", t, i), as_bytes("x")));
    });
  }
  threads.clear();
  EXPECT_EQ(disk.root()->list().value().size(), 200u);
}

}  // namespace
}  // namespace caddis::os
