// What a data directory may hold at boot, and what becomes of it.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "db/engine.h"
#include "db/log.h"
#include "db/page_sums.h"
#include "db/sqlite_on_engine.h"
#include "ltx/checksum.h"
#include "os/file.h"

namespace caddis::db {
namespace {

class BootTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/caddis-boot-test-XXXXXX";
    root_ = mkdtemp(name);
    shell("mkdir " + root_ + "/data " + root_ + "/locks");
  }
  void TearDown() override {
    sql_.reset();
    shell("rm -rf " + root_);
  }
  void shell(const std::string& command) { ASSERT_EQ(system(command.c_str()), 0) << command; }
  std::string data(const std::string& path = "") { return root_ + "/data/" + path; }
  void make(const std::string& path, const std::string& content) {
    std::ofstream(data(path), std::ios::binary) << content;
  }
  Status boot() {
    sql_.reset();
    shell("rm -f " + root_ + "/locks/*");
    sql_ = std::make_unique<SqliteOnEngine>(std::shared_ptr<os::Dir>(*os::open_system_dir(data())), root_ + "/locks");
    return sql_->engine().open();
  }
  void must_boot() {
    Status done = boot();
    ASSERT_TRUE(done) << done.error().message();
  }
  std::string text(const std::string& name, const std::string& sql) {
    sqlite3* db = sql_->open(name);
    std::string out;
    sqlite3_stmt* stmt = nullptr;
    if (sqlite3_prepare_v2(db, sql.c_str(), -1, &stmt, nullptr) != SQLITE_OK) out = sqlite3_errmsg(db);
    while (stmt != nullptr && sqlite3_step(stmt) == SQLITE_ROW) {
      if (!out.empty()) out += ',';
      const unsigned char* value = sqlite3_column_text(stmt, 0);
      out += value == nullptr ? "NULL" : reinterpret_cast<const char*>(value);
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return out;
  }
  std::string position(const std::string& name) {
    std::shared_ptr<Database> db = sql_->engine().find(name);
    return db == nullptr ? "none" : to_text(db->position());
  }
  // A database made by SQLite alone.
  void make_database(const std::string& path, const std::string& sql) {
    sqlite3* db = nullptr;
    sqlite3_open(data(path).c_str(), &db);
    char* message = nullptr;
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK) << message;
    sqlite3_close(db);
  }
  bool empty() { return Engine::is_empty_volume(**os::open_system_dir(data())).value(); }

  std::string root_;
  std::unique_ptr<SqliteOnEngine> sql_;
};

TEST_F(BootTest, AnEmptyVolumeHasNothingOrLostAndFoundOrEmptyDatabases) {
  EXPECT_TRUE(empty());
  shell("mkdir -p " + data("lost+found") + " " + data("dbs/a.db") + " " + data("dbs/lost+found"));
  make("dbs/a.db/database", "");
  EXPECT_TRUE(empty());
  must_boot();
  EXPECT_TRUE(empty());
  make("dbs/a.db/database", "x");
  EXPECT_FALSE(empty());
}

TEST_F(BootTest, ADatabaseWithoutALogIsAdoptedAsTheFirstTransaction) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v); insert into t values('one'),('two')");
  must_boot();
  EXPECT_EQ(sql_->engine().find("a.db")->position().txid, Txid(1));
  EXPECT_EQ(text("a.db", "select v from t"), "one,two");
  std::string before = position("a.db");
  must_boot();
  EXPECT_EQ(position("a.db"), before);
}

TEST_F(BootTest, WhatIsNoDatabaseIsSetAsideNotDeleted) {
  shell("mkdir -p " + data("dbs/a.db"));
  make("dbs/a.db/database", "this is no database at all, but somebody may want it");
  must_boot();
  EXPECT_EQ(sql_->engine().find("a.db"), nullptr);
  shell("grep -q 'somebody may want it' " + data("caddis/lost/a.db-*"));
}

TEST_F(BootTest, AStrayFileBesideTheDatabasesIsLeftAlone) {
  shell("mkdir -p " + data("dbs"));
  make("dbs/stray", "x");
  must_boot();
  shell("test -f " + data("dbs/stray"));
}

TEST_F(BootTest, AVolumeOfLiteFsIsTakenOver) {
  std::string samples = std::string(CADDIS_TESTDATA) + "/litefs";
  shell("tar -C " + data() + " --strip-components=1 -xf " + samples + "/volume.tar");
  must_boot();
  for (const char* name : {"wal.db", "del.db"}) {
    std::ifstream file(samples + "/" + name + "-pos");
    std::string expected;
    std::getline(file, expected);
    EXPECT_EQ(position(name), expected);
    EXPECT_EQ(text(name, "pragma integrity_check"), "ok");
  }
  // And goes on from there.
  sqlite3* db = sql_->open("wal.db");
  EXPECT_EQ(sqlite3_exec(db, "delete from t where id = (select max(id) from t)", nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(db);
  sqlite3_close(db);
  sql_->step();
  std::string after = position("wal.db");
  ASSERT_TRUE(sql_->engine().close());
  must_boot();
  EXPECT_EQ(position("wal.db"), after);
}

TEST_F(BootTest, AChangeMadeWhileCaddisWasNotRunningBecomesATransaction) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v); insert into t values('one')");
  must_boot();
  ASSERT_TRUE(sql_->engine().close());
  make_database("dbs/a.db/database", "insert into t values('offline')");
  must_boot();
  EXPECT_EQ(sql_->engine().find("a.db")->position().txid, Txid(2));
  EXPECT_EQ(text("a.db", "select v from t"), "one,offline");
}

TEST_F(BootTest, ATornLastLogFileIsRemovedAndTheRestApplied) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v)");
  must_boot();
  for (int i = 0; i < 3; ++i) text("a.db", "insert into t values(1)");
  std::vector<LogEntry> entries = sql_->engine().log().list("a.db").value();
  ASSERT_EQ(entries.back().max, Txid(4));
  // As after a power cut before the last file was synced: the rows of TXID 4 are in the database, though.
  shell("truncate -s 150 " + data("dbs/a.db/ltx/" + entries.back().file_name));
  must_boot();
  EXPECT_EQ(text("a.db", "select count(*) from t"), "2");
  EXPECT_EQ(text("a.db", "pragma integrity_check"), "ok");
}

TEST_F(BootTest, ADamagedPageThatTheLogStillCoversIsRepaired) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v)");
  must_boot();
  text("a.db", "insert into t values('covered')");
  shell("printf 'XXXX' | dd of=" + data("dbs/a.db/database") + " bs=1 seek=8100 conv=notrunc status=none");
  must_boot();
  EXPECT_EQ(text("a.db", "select v from t"), "covered");
  EXPECT_EQ(text("a.db", "pragma integrity_check"), "ok");
}

TEST_F(BootTest, ADatabaseCutShortIsRepairedFromTheLogOrRefused) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v); insert into t values(randomblob(30000))");
  must_boot();
  text("a.db", "insert into t values('last')");
  std::string before = position("a.db");
  ASSERT_TRUE(sql_->engine().close());
  shell("truncate -s 20480 " + data("dbs/a.db/database"));
  must_boot();
  EXPECT_EQ(position("a.db"), before);
  EXPECT_EQ(text("a.db", "select count(*) from t"), "2");
  EXPECT_EQ(text("a.db", "pragma integrity_check"), "ok");
  ASSERT_TRUE(sql_->engine().close());
  shell("truncate -s 20480 " + data("dbs/a.db/database") + " && rm " + data("dbs/a.db/ltx/0000000000000001*"));
  Status refused = boot();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("damaged"), std::string::npos) << refused.error().message();
}

TEST_F(BootTest, AMissingDatabaseIsMadeFromTheLogOrRefused) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v); insert into t values('first')");
  must_boot();
  text("a.db", "insert into t values('last')");
  std::string before = position("a.db");
  ASSERT_TRUE(sql_->engine().close());
  shell("rm " + data("dbs/a.db/database"));
  must_boot();
  EXPECT_EQ(position("a.db"), before);
  EXPECT_EQ(text("a.db", "select v from t"), "first,last");
  ASSERT_TRUE(sql_->engine().close());
  shell("rm " + data("dbs/a.db/database") + " " + data("dbs/a.db/ltx/0000000000000001*"));
  EXPECT_FALSE(boot());
}

TEST_F(BootTest, ARestoredFileStartsAtItsPositionAndTheNextCommitFollows) {
  shell("mkdir -p " + data("caddis/tmp"));
  make_database("caddis/tmp/restored", "pragma journal_mode=wal; create table t(v); insert into t values('back')");
  sql_ = std::make_unique<SqliteOnEngine>(std::shared_ptr<os::Dir>(*os::open_system_dir(data())), root_ + "/locks");
  Status wrong = sql_->engine().install_restored("a.db", "restored", Position{Txid(41), Checksum(Checksum::kFlag | 1)});
  EXPECT_FALSE(wrong);
  Status done = sql_->engine().install_restored("a.db", "restored", Position{Txid(41), Checksum()});
  ASSERT_TRUE(done) << done.error().message();
  must_boot();
  EXPECT_EQ(sql_->engine().find("a.db")->position().txid, Txid(41));
  EXPECT_EQ(text("a.db", "select v from t"), "back");
  text("a.db", "insert into t values('more')");
  sql_->step();
  EXPECT_EQ(sql_->engine().find("a.db")->position().txid, Txid(42));
}

TEST_F(BootTest, RetentionKeepsTheLastFileAndWhatTheNextBootNeeds) {
  shell("mkdir -p " + data("dbs/a.db"));
  make_database("dbs/a.db/database", "create table t(v)");
  must_boot();
  for (int i = 0; i < 5; ++i) text("a.db", "insert into t values(1)");
  EXPECT_EQ(sql_->engine().log().list("a.db").value().size(), 6u);
  std::string before = position("a.db");
  must_boot();
  EXPECT_EQ(position("a.db"), before);
}

TEST(PageSums, ASavedFileWithAnyFlippedByteIsRefused) {
  char name[] = "/tmp/caddis-sums-test-XXXXXX";
  std::string root = mkdtemp(name);
  std::unique_ptr<os::Dir> dir = *os::open_system_dir(root);
  SavedSums saved;
  saved.sums.reset(512);
  saved.sums.resize(3);
  for (std::uint32_t p = 1; p <= 3; ++p) saved.sums.set(Pgno(p), Checksum(Checksum::kFlag | p));
  saved.position = {Txid(7), saved.sums.total()};
  ASSERT_TRUE(save_sums(*dir, "a", saved));
  ASSERT_TRUE(load_sums(*dir, "a"));
  Bytes good = *os::read_file(*dir, "a");
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 0x10;
    ASSERT_TRUE(os::write_file_durably(*dir, "a", bad));
    EXPECT_FALSE(load_sums(*dir, "a")) << "byte " << i;
  }
  (void)!system(("rm -rf " + root).c_str());
}

}  // namespace
}  // namespace caddis::db
