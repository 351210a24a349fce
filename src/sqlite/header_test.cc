#include "sqlite/header.h"

#include <gtest/gtest.h>

#include "sqlite/test_db.h"

namespace caddis::sqlite {
namespace {

TEST(DbHeader, EveryPageSizeOfSqliteIsReadWithItsPageCount) {
  TestDir dir;
  for (std::uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
    std::filesystem::path path = dir / std::to_string(page_size);
    TestDb db(path);
    db.exec("PRAGMA page_size=" + std::to_string(page_size) + "; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    std::optional<DbHeader> header = parse_header(read_file(path));
    ASSERT_TRUE(header);
    EXPECT_EQ(header->page_size_bytes, page_size);
    EXPECT_FALSE(header->is_wal());
    EXPECT_EQ(header->schema_cookie, 1u);
    EXPECT_EQ(header->sqlite_version, static_cast<std::uint32_t>(sqlite3_libversion_number()));
    EXPECT_EQ(header->change_counter, header->version_valid_for);
    EXPECT_EQ(std::to_string(database_pages(*header, 0)), db.value("PRAGMA page_count"));
  }
}

TEST(DbHeader, WalModeShowsInTheVersions) {
  TestDir dir;
  TestDb db(dir / "db");
  db.exec("PRAGMA journal_mode=wal; CREATE TABLE t(x)");
  EXPECT_TRUE(parse_header(read_file(dir / "db"))->is_wal());
}

TEST(DbHeader, PageCountIsBelievedOnlyWhenTheChangeCounterIsTheOneItWasWrittenFor) {
  DbHeader header{.page_size_bytes = 4096, .change_counter = 7, .page_count = 9, .version_valid_for = 7};
  EXPECT_EQ(database_pages(header, 4096 * 3), 9u);
  header.change_counter = 8;
  EXPECT_EQ(database_pages(header, 4096 * 3), 3u);
  EXPECT_EQ(database_pages(header, 4096 * 3 + 1), 4u) << "SQLite rounds up";
  header = {.page_size_bytes = 65536, .change_counter = 7, .page_count = 0, .version_valid_for = 7};
  EXPECT_EQ(database_pages(header, 65536), 1u);
}

TEST(DbHeader, WhatIsNoDatabaseIsRefused) {
  TestDir dir;
  TestDb(dir / "db").exec("CREATE TABLE t(x)");
  Bytes bytes = read_file(dir / "db");
  EXPECT_FALSE(parse_header(ByteView(bytes).first(99)));
  EXPECT_TRUE(has_magic(ByteView(bytes).first(16)));
  EXPECT_FALSE(has_magic(ByteView(bytes).first(15)));
  bytes[17] = 1;  // page size 4097
  EXPECT_FALSE(parse_header(bytes));
  bytes[17] = 0;
  EXPECT_TRUE(parse_header(bytes));
  bytes[3] ^= 1;
  EXPECT_FALSE(parse_header(bytes));
}

}  // namespace
}  // namespace caddis::sqlite
