#include "sqlite/journal.h"

#include <gtest/gtest.h>

#include <set>

#include "sqlite/header.h"
#include "sqlite/test_db.h"

namespace caddis::sqlite {
namespace {

constexpr std::uint32_t kPageSize = 1024;

// A database with 300 rows on about 160 pages.
void fill(TestDb& db) {
  db.exec("PRAGMA page_size=" + std::to_string(kPageSize) +
          "; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);"
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) "
          "INSERT INTO t SELECT i, randomblob(500) FROM n");
}

struct Rollback {
  Bytes database;
  std::vector<Pgno> pages;
  JournalEnd end = JournalEnd::kNone;
  std::optional<JournalHeader> header;
};
// What a hot journal makes of the database.
Rollback roll_back(Bytes database, const Bytes& journal, JournalView view = JournalView::kHot) {
  Rollback out{.database = std::move(database)};
  JournalReader reader(read_at_of(journal), journal.size(), kPageSize, view);
  out.header = *reader.header();
  if (out.header) out.database.resize(std::size_t{out.header->initial_pages} * out.header->page_size_bytes);
  while (true) {
    Result<std::optional<JournalRecord>> record = reader.next();
    EXPECT_TRUE(record);
    if (!record || !*record) break;
    out.pages.push_back((*record)->pgno);
    std::copy((*record)->data.begin(), (*record)->data.end(),
              out.database.begin() + std::ptrdiff_t{(*record)->pgno.index()} * kPageSize);
  }
  out.end = reader.end();
  return out;
}

// The files as a writer leaves them that is killed in a transaction which has spilled its cache several times.
struct Crash {
  Bytes before, database, journal;
};
Crash crash_of_a_spilling_writer(const std::string& pragmas) {
  TestDir dir;
  TestDb db(dir / "db");
  db.exec(pragmas);
  fill(db);
  Crash out;
  out.before = read_file(dir / "db");
  db.exec(
      "PRAGMA cache_size=10; BEGIN; UPDATE t SET v=randomblob(500); INSERT INTO t SELECT NULL, randomblob(3000) FROM "
      "t");
  out.database = read_file(dir / "db");
  out.journal = read_file(dir / "db-journal");
  db.exec("ROLLBACK");
  return out;
}

TEST(JournalReader, RollsBackASpilledTransactionOfManySegmentsAsSqliteDoes) {
  Crash crash = crash_of_a_spilling_writer("");
  ASSERT_NE(crash.database, crash.before);
  EXPECT_TRUE(is_hot(crash.journal));
  Rollback ours = roll_back(crash.database, crash.journal);
  ASSERT_TRUE(ours.header);
  EXPECT_EQ(ours.header->page_size_bytes, kPageSize);
  std::uint64_t first_segment = ours.header->record_count;
  EXPECT_GT(ours.pages.size(), first_segment) << "several segments";
  EXPECT_EQ(std::set<Pgno>(ours.pages.begin(), ours.pages.end()).size(), ours.pages.size());
  EXPECT_EQ(ours.database, crash.before);

  TestDir dir;
  write_file(dir / "db", crash.database);
  write_file(dir / "db-journal", crash.journal);
  EXPECT_EQ(TestDb(dir / "db").value("SELECT count(*) FROM t"), "300");
  EXPECT_EQ(read_file(dir / "db"), ours.database);
}

TEST(JournalReader, RollsBackAnUnsyncedWriterWhoseCountReachesToTheEnd) {
  Crash crash = crash_of_a_spilling_writer("PRAGMA synchronous=OFF");
  Rollback ours = roll_back(crash.database, crash.journal);
  ASSERT_TRUE(ours.header);
  EXPECT_EQ(ours.header->record_count, kJournalCountToEnd);
  EXPECT_EQ(ours.database, crash.before);
}

TEST(JournalReader, AJournalThatWasNeverSyncedIsNotHotButReadableAlive) {
  TestDir dir;
  TestDb db(dir / "db");
  fill(db);
  Bytes before = read_file(dir / "db");
  db.exec("BEGIN; UPDATE t SET v=randomblob(500) WHERE id<100");
  Bytes journal = read_file(dir / "db-journal");
  EXPECT_FALSE(is_hot(journal));
  EXPECT_FALSE(is_zeroed_header(journal)) << "only magic and count are missing";
  EXPECT_FALSE(roll_back(before, journal).header);
  Rollback alive = roll_back(before, journal, JournalView::kLive);
  ASSERT_TRUE(alive.header);
  EXPECT_GT(alive.pages.size(), 40u);
  EXPECT_EQ(alive.database, before);
}

TEST(JournalReader, PersistModeCommitsByZeroingTheHeader) {
  TestDir dir;
  TestDb db(dir / "db");
  db.exec("PRAGMA journal_mode=PERSIST");
  fill(db);
  Bytes journal = read_file(dir / "db-journal");
  EXPECT_GT(journal.size(), 28u);
  EXPECT_TRUE(is_zeroed_header(journal));
  EXPECT_FALSE(is_hot(journal));
  EXPECT_FALSE(roll_back({}, journal).header);
  EXPECT_FALSE(is_zeroed_header({}));
  EXPECT_FALSE(is_hot({}));
}

TEST(JournalReader, ATornRecordEndsThePlaybackAsInSqlite) {
  Crash crash = crash_of_a_spilling_writer("");
  for (std::size_t size : {crash.journal.size() - 1, crash.journal.size() / 2, std::size_t{5000}, std::size_t{511}}) {
    Bytes cut(crash.journal.begin(), crash.journal.begin() + static_cast<std::ptrdiff_t>(size));
    Rollback ours = roll_back(crash.database, cut);
    EXPECT_EQ(ours.header.has_value(), size >= 512) << size;
    TestDir dir;
    write_file(dir / "db", crash.database);
    write_file(dir / "db-journal", cut);
    TestDb(dir / "db").try_exec("SELECT count(*) FROM t");  // the database may be malformed now, its bytes must be ours
    EXPECT_TRUE(read_file(dir / "db") == ours.database) << size;
  }
}

TEST(JournalReader, AWrongChecksumEndsThePlayback) {
  Crash crash = crash_of_a_spilling_writer("");
  Rollback whole = roll_back(crash.database, crash.journal);
  Bytes bad = crash.journal;
  std::size_t third = whole.header->sector_size_bytes + 2 * (kPageSize + 8);
  bad[third + 4 + kPageSize - 200] ^= 1;  // one of the bytes the checksum covers
  Rollback ours = roll_back(crash.database, bad);
  EXPECT_EQ(ours.pages.size(), 2u);
  EXPECT_EQ(ours.end, JournalEnd::kBadRecord);
  bad = crash.journal;
  std::fill_n(bad.begin() + static_cast<std::ptrdiff_t>(third), 4, std::uint8_t{0});  // page number 0
  EXPECT_EQ(roll_back(crash.database, bad).pages.size(), 2u);
}

TEST(JournalReader, RecordsBeyondTheInitialSizeAreLeftOut) {
  Bytes journal(512 + 2 * (kPageSize + 8));
  std::ranges::copy(std::to_array<std::uint8_t>({0xd9, 0xd5, 5, 0xf9, 0x20, 0xa1, 0x63, 0xd7}), journal.begin());
  put_be32(journal.data() + 8, 2);
  put_be32(journal.data() + 16, 5);
  put_be32(journal.data() + 20, 512);
  put_be32(journal.data() + 24, 0);  // the database's own page size
  put_be32(journal.data() + 512, 6);
  put_be32(journal.data() + 512 + kPageSize + 8, 5);
  Rollback ours = roll_back(Bytes(10 * kPageSize), journal);
  EXPECT_EQ(ours.pages, std::vector{Pgno(5)});
  EXPECT_EQ(ours.database.size(), 5 * kPageSize);
  EXPECT_EQ(ours.end, JournalEnd::kNoHeader);
  put_be32(journal.data() + 20, 500);
  EXPECT_FALSE(roll_back({}, journal).header) << "a sector is a power of two";
  put_be32(journal.data() + 20, 512);
  put_be32(journal.data() + 24, 100);
  EXPECT_FALSE(roll_back({}, journal).header);
}

TEST(JournalReader, NoByteOfAJournalCanBreakIt) {
  Crash crash = crash_of_a_spilling_writer("");
  Bytes small(crash.journal.begin(), crash.journal.begin() + 6000);
  for (std::size_t at = 0; at < 28; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      Bytes bad = small;
      bad[at] = static_cast<std::uint8_t>(bad[at] ^ (1u << bit));
      JournalReader reader(read_at_of(bad), bad.size(), kPageSize);
      for (int i = 0; i < 10 && *reader.next(); ++i) {}
    }
  }
}

// What the journal of `db` was when SQLite deleted the super-journal, that is, at the moment of the commit.
struct CommitWatch {
  std::filesystem::path journal_path;
  std::string super_name;
  Bytes journal;
};
CommitWatch g_watch;

int watch_delete(sqlite3_vfs*, const char* path, int sync_dir) {
  if (std::string(path).find("-mj") != std::string::npos) {
    g_watch.super_name = path;
    g_watch.journal = read_file(g_watch.journal_path);
  }
  sqlite3_vfs* unix_vfs = sqlite3_vfs_find("unix");
  return unix_vfs->xDelete(unix_vfs, path, sync_dir);
}

TEST(SuperJournal, ItsNameIsReadFromTheJournalOfARealCommitOverTwoDatabases) {
  TestDir dir;
  g_watch = {.journal_path = dir / "db-journal"};
  sqlite3_initialize();
  sqlite3_vfs vfs = *sqlite3_vfs_find("unix");
  vfs.zName = "watch";
  vfs.xDelete = watch_delete;
  sqlite3_vfs_register(&vfs, 1);
  {
    TestDb db(dir / "db");
    db.exec("ATTACH '" + (dir / "other").string() +
            "' AS other; CREATE TABLE t(x); CREATE TABLE other.u(x);"
            "BEGIN; INSERT INTO t VALUES(1); INSERT INTO u VALUES(1); COMMIT");
  }
  sqlite3_vfs_unregister(&vfs);
  ASSERT_NE(g_watch.super_name, "");
  EXPECT_EQ(*read_super_journal(read_at_of(g_watch.journal), g_watch.journal.size()), g_watch.super_name);
}

TEST(SuperJournal, ADamagedNameIsNoName) {
  Bytes journal(100, 7);
  std::string name = "/data/db-mj0123456789";
  Bytes pgno(4);
  append(journal, pgno);
  append(journal, as_bytes(name));
  std::uint32_t sum = 0;
  for (char c : name) sum += static_cast<std::uint32_t>(c);
  Bytes tail(8);
  put_be32(tail.data(), static_cast<std::uint32_t>(name.size()));
  put_be32(tail.data() + 4, sum);
  append(tail, std::to_array<std::uint8_t>({0xd9, 0xd5, 5, 0xf9, 0x20, 0xa1, 0x63, 0xd7}));
  append(journal, tail);
  EXPECT_EQ(*read_super_journal(read_at_of(journal), journal.size()), name);
  EXPECT_EQ(*read_super_journal(read_at_of(journal), journal.size() - 1), "");
  EXPECT_EQ(*read_super_journal(read_at_of(journal), 3), "");
  journal[110] ^= 1;
  EXPECT_EQ(*read_super_journal(read_at_of(journal), journal.size()), "") << "wrong checksum";
}

}  // namespace
}  // namespace caddis::sqlite
