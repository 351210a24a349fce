#include "fuse/file_name.h"

#include <gtest/gtest.h>

#include <string>

namespace caddis::fuse {
namespace {

struct Expected {
  std::string_view name;
  NameKind kind;
  std::string_view base;
};

TEST(FileName, EveryNameHasOneMeaning) {
  const Expected kCases[] = {
      {"app.db", NameKind::kFile, "app.db"},         {"app.db-wal", NameKind::kWal, "app.db"},
      {"app.db-shm", NameKind::kShm, "app.db"},      {"app.db-journal", NameKind::kJournal, "app.db"},
      {"app.db-pos", NameKind::kPos, "app.db"},      {"app.db-lock", NameKind::kLock, "app.db"},
      {".primary", NameKind::kPrimary, ".primary"},  {".lag", NameKind::kLag, ".lag"},
      {".at", NameKind::kReserved, ".at"},           {"notes.txt", NameKind::kFile, "notes.txt"},
      {"with space", NameKind::kFile, "with space"},
  };
  for (const Expected& e : kCases) {
    FileName got = classify(e.name);
    EXPECT_EQ(got.kind, e.kind) << e.name;
    EXPECT_EQ(got.base, e.base) << e.name;
  }
}

TEST(FileName, SuperJournalsAndTempFilesAreNeverDatabases) {
  EXPECT_EQ(classify("app.db-mj1A2B3C4D9").kind, NameKind::kLocal);
  EXPECT_EQ(classify("etilqs_0123456789abcdef").kind, NameKind::kLocal);
  EXPECT_EQ(classify("etilqs_0123456789abcdef-journal").kind, NameKind::kLocal);
  EXPECT_EQ(classify("app.db-mj1A2B").kind, NameKind::kFile);  // too short to be SQLite's
}

TEST(FileName, ASuffixCountsOnlyAfterADatabaseName) {
  EXPECT_EQ(classify("-wal").kind, NameKind::kLocal);
  EXPECT_EQ(classify(".hidden-journal").kind, NameKind::kLocal);
  EXPECT_EQ(classify("a-wal-shm").kind, NameKind::kLocal);
  EXPECT_EQ(classify(".hidden").kind, NameKind::kLocal);
  EXPECT_EQ(classify(std::string("tab\tname")).kind, NameKind::kLocal);
  EXPECT_EQ(classify(std::string(248, 'x')).kind, NameKind::kLocal);
  EXPECT_EQ(classify(std::string(247, 'x')).kind, NameKind::kFile);
}

TEST(FileName, OnlyTheWholeMagicMakesADatabase) {
  EXPECT_TRUE(has_sqlite_magic(std::string_view("SQLite format 3\0rest", 20)));
  EXPECT_FALSE(has_sqlite_magic("SQLite format 3"));
  EXPECT_FALSE(has_sqlite_magic(std::string_view("SQLite format 4\0", 16)));
  EXPECT_FALSE(has_sqlite_magic(""));
}

}  // namespace
}  // namespace caddis::fuse
