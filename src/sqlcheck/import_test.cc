#include "sqlcheck/import.h"

#include <gtest/gtest.h>

#include <fstream>

#include "sqlcheck/test_database.h"

namespace caddis::sqlcheck {
namespace {

TEST(Import, ReplacesTheContentAndKeepsTheJournalMode) {
  TestFolder folder;
  std::string from = folder.make_database("from.db", 4096, "delete", 300);
  std::string to = folder.make_database("to.db", 4096, "wal", 5);
  Status status = import_into(to, from, {});
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(TestFolder::count(to), 300);
}

TEST(Import, MakesADatabaseThatIsNotThere) {
  TestFolder folder;
  std::string from = folder.make_database("from.db", 512, "delete", 30);
  ASSERT_TRUE(import_into(folder.path("new.db"), from, {}));
  EXPECT_EQ(TestFolder::count(folder.path("new.db")), 30);
}

TEST(Import, TextFileIsRefusedAndTheDatabaseUntouched) {
  TestFolder folder;
  std::string to = folder.make_database("to.db", 4096, "delete", 5);
  std::ofstream(folder.path("x.txt")) << std::string(9000, 'x');
  Status status = import_into(to, folder.path("x.txt"), {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kCorrupt) << status.error().message();
  EXPECT_EQ(TestFolder::count(to), 5);
}

TEST(Import, LockedDatabaseIsBusyAfterTheTimeout) {
  TestFolder folder;
  std::string from = folder.make_database("from.db", 4096, "delete", 30);
  std::string to = folder.make_database("to.db", 4096, "delete", 5);
  sqlite3* writer = TestFolder::open(to);
  TestFolder::exec(writer, "BEGIN EXCLUSIVE");
  Status status = import_into(to, from, {.busy_timeout_ms = 50});
  TestFolder::exec(writer, "ROLLBACK");
  sqlite3_close(writer);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kBusy) << status.error().message();
  EXPECT_EQ(TestFolder::count(to), 5);
}

TEST(Import, OtherPageSizeOverAWalDatabaseNamesTheCure) {
  TestFolder folder;
  std::string from = folder.make_database("from.db", 1024, "delete", 30);
  std::string to = folder.make_database("to.db", 4096, "wal", 5);
  Status status = import_into(to, from, {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kInvalid) << status.error().message();
  EXPECT_EQ(TestFolder::count(to), 5);
}

}  // namespace
}  // namespace caddis::sqlcheck
