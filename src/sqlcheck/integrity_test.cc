#include "sqlcheck/integrity.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>

#include "sqlcheck/test_database.h"

namespace caddis::sqlcheck {
namespace {

TEST(Integrity, SoundDatabasePassesQuickAndFullCheckAndLeavesNoFileBeside) {
  TestFolder folder;
  std::string path = folder.make_database("a.db", 4096, "wal", 200);
  EXPECT_TRUE(check_integrity(path, IntegrityCheck::kQuick));
  EXPECT_TRUE(check_integrity(path, IntegrityCheck::kFull));
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Integrity, DamagedPageIsCorruptAndNamesTheFile) {
  TestFolder folder;
  std::string path = folder.make_database("a.db", 512, "delete", 500);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(512 * 3);
    std::string garbage(512, '\x7f');
    file.write(garbage.data(), 512);
  }
  Status status = check_integrity(path, IntegrityCheck::kFull);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(status.error().message().find(path), std::string::npos) << status.error().message();
  EXPECT_EQ(status.error().message().find('\n'), std::string::npos);
}

TEST(Integrity, StopRequestEndsTheCheck) {
  TestFolder folder;
  std::string path = folder.make_database("a.db", 512, "delete", 20000);
  std::stop_source stop;
  stop.request_stop();
  Status status = check_integrity(path, IntegrityCheck::kFull, stop.get_token());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kCancelled);
}

TEST(Integrity, MissingFileIsNotFound) {
  Status status = check_integrity("/nonexistent/a.db", IntegrityCheck::kQuick);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound) << status.error().message();
}

TEST(Integrity, OddCharactersInThePathAreNotReadAsUri) {
  TestFolder folder;
  std::string path = folder.make_database("a?mode=memory#%41.db", 4096, "delete", 3);
  EXPECT_TRUE(check_integrity(path, IntegrityCheck::kQuick));
  EXPECT_TRUE(inspect_source(path));
}

TEST(InspectSource, GivesPageSizeAndCount) {
  TestFolder folder;
  auto info = inspect_source(folder.make_database("a.db", 1024, "delete", 100));
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_EQ(info->page_size_bytes, 1024u);
  EXPECT_GT(info->page_count, 1u);
}

TEST(InspectSource, TextFileAndEmptyFileAreNoDatabases) {
  TestFolder folder;
  std::ofstream(folder.path("t.txt")) << std::string(5000, 'x');
  std::ofstream(folder.path("e.db")).close();
  auto text = inspect_source(folder.path("t.txt"));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code(), ErrorCode::kCorrupt);
  auto empty = inspect_source(folder.path("e.db"));
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code(), ErrorCode::kCorrupt);
}

TEST(ParseIntegrityCheck, KnowsItsThreeWords) {
  EXPECT_EQ(parse_integrity_check("none").value(), IntegrityCheck::kNone);
  EXPECT_EQ(parse_integrity_check("quick").value(), IntegrityCheck::kQuick);
  EXPECT_EQ(parse_integrity_check("full").value(), IntegrityCheck::kFull);
  EXPECT_FALSE(parse_integrity_check("Full"));
}

}  // namespace
}  // namespace caddis::sqlcheck
