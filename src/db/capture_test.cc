// Real SQLite on an Engine on a disk in memory: every way to commit, and power cuts at every step of them.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "db/engine.h"
#include "db/log.h"
#include "db/sqlite_on_engine.h"
#include "ltx/checksum.h"
#include "ltx/stream.h"
#include "os/fake_disk.h"
#include "sqlite/header.h"

namespace caddis::db {
namespace {

class LockDir {
 public:
  LockDir() {
    char name[] = "/tmp/caddis-db-test-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~LockDir() { (void)!system(("rm -rf " + path_).c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Image {
  std::uint32_t page_size = 0;
  std::vector<Bytes> pages;
  Position position;
};

// The database as the log tells it, from an empty one on.
Result<Image> replay(Engine& engine, const std::string& name) {
  Image image;
  TRY_ASSIGN(std::vector<LogEntry> entries, engine.log().list(name));
  for (const LogEntry& entry : entries) {
    TRY_ASSIGN(std::unique_ptr<os::File> file, engine.log().open(name, entry));
    Bytes bytes(entry.size_bytes);
    TRY(os::read_exactly(*file, bytes, 0));
    auto decoder = ltx::make_decoder(ltx::Version::kV1, ltx::source_of(bytes));
    TRY_ASSIGN(ltx::Header header, decoder->header());
    if (header.min_txid != image.position.txid.next()) return corrupt("{} after {}", entry.file_name, image.position);
    if (image.position.txid.value() != 0 && header.pre_apply != image.position.checksum) {
      return corrupt("{} pre-apply {}, is {}", entry.file_name, header.pre_apply, image.position);
    }
    image.page_size = header.page_size_bytes;
    image.pages.resize(header.commit, Bytes());
    for (;;) {
      TRY_ASSIGN(std::optional<ltx::Page> page, decoder->next());
      if (!page) break;
      image.pages[page->pgno.index()].assign(page->data.begin(), page->data.end());
    }
    image.position = {header.max_txid, decoder->trailer().post_apply};
    ltx::RollingChecksum sum;
    for (std::uint32_t i = 0; i < header.commit; ++i) {
      if (image.pages[i].empty()) {
        if (Pgno(i + 1) != lock_pgno(image.page_size))
          return corrupt("{}: page {} is in no file", entry.file_name, i + 1);
        continue;
      }
      sum.add(ltx::page_checksum(Pgno(i + 1), image.pages[i]));
    }
    if (header.commit > 0 && sum.value() != image.position.checksum) {
      return corrupt("{}: checksum {}, pages give {}", entry.file_name, image.position.checksum, sum.value());
    }
  }
  return image;
}

class CaptureTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    // What SQLite found wrong, beside a test that fails.
    sqlite3_config(
        SQLITE_CONFIG_LOG, +[](void*, int code, const char* text) { printf("sqlite %d: %s\n", code, text); }, nullptr);
  }
  void SetUp() override { start(); }
  void TearDown() override {
    if (db_ != nullptr) sqlite3_close(db_);
  }
  void start() {
    sql_ = std::make_unique<SqliteOnEngine>(disk_.root(), locks_.path(), late_);
    Status opened = sql_->engine().open();
    ASSERT_TRUE(opened) << opened.error().message();
    db_ = sql_->open("app.db");
    sqlite3_busy_timeout(db_, 0);
  }
  // SQLite is told nothing of the crash: its handles answer EIO.
  void crash_and_start(std::optional<std::uint64_t> seed = {}) {
    if (seed)
      disk_.power_loss(*seed);
    else
      disk_.process_crash();
    sqlite3_close(db_);
    db_ = nullptr;
    (void)!system(("rm -f " + locks_.path() + "/*").c_str());
    start();
  }
  void restart_cleanly() {
    sqlite3_close(db_);
    db_ = nullptr;
    sql_->step();
    Status closed = sql_->engine().close();
    ASSERT_TRUE(closed) << closed.error().message();
    sql_.reset();
    disk_.process_crash();
    start();
  }
  int exec(const std::string& sql, sqlite3* db = nullptr) {
    char* message = nullptr;
    int rc = sqlite3_exec(db == nullptr ? db_ : db, sql.c_str(), nullptr, nullptr, &message);
    last_error_ = message == nullptr ? "" : message;
    sqlite3_free(message);
    return rc;
  }
  void must(const std::string& sql, sqlite3* db = nullptr) {
    ASSERT_EQ(exec(sql, db), SQLITE_OK) << sql << ": " << last_error_;
  }
  std::string text(const std::string& sql) {
    std::string out;
    sqlite3_stmt* stmt = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &stmt, nullptr) != SQLITE_OK) return sqlite3_errmsg(db_);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
      if (!out.empty()) out += ',';
      const unsigned char* value = sqlite3_column_text(stmt, 0);
      out += value == nullptr ? "NULL" : reinterpret_cast<const char*>(value);
    }
    sqlite3_finalize(stmt);
    return out;
  }
  Position position(const std::string& name = "app.db") {
    std::shared_ptr<Database> db = sql_->engine().find(name);
    if (db == nullptr) return {};
    std::optional<Position> result;
    db->read_position([&](Result<Position> p) { result = p.value_or(Position{}); });
    for (int i = 0; i < 1000 && !result; ++i) sql_->engine().step();
    return result.value_or(Position{});
  }
  // The log, replayed, is the database; the position's checksum is that of its pages.
  void check_log(const std::string& name = "app.db") {
    Position now = position(name);
    Result<Image> image = replay(sql_->engine(), name);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(to_text(image->position), to_text(now));
    // What SQLite reads page by page (WAL included).
    std::string from_sqlite = text("select page_count from pragma_page_count");
    EXPECT_EQ(std::to_string(image->pages.size()), from_sqlite);
    EXPECT_EQ(text("pragma integrity_check"), "ok");
    // A copy made of the log alone opens and has the same rows.
    Bytes file;
    for (Bytes& page : image->pages) {
      page.resize(image->page_size);
      append(file, page);
    }
    if (file.size() >= 20) file[18] = file[19] = 1;  // memory databases can't be WAL
    sqlite3* copy = nullptr;
    sqlite3_open(":memory:", &copy);
    auto* data = static_cast<unsigned char*>(sqlite3_malloc64(file.size() + 1));
    std::copy(file.begin(), file.end(), data);
    auto size = static_cast<sqlite3_int64>(file.size());
    ASSERT_EQ(sqlite3_deserialize(copy, "main", data, size, size, SQLITE_DESERIALIZE_FREEONCLOSE), SQLITE_OK);
    std::swap(copy, db_);
    std::string copy_rows = text("select count(*) || '/' || ifnull(sum(length(v)),0) from t");
    EXPECT_EQ(text("pragma integrity_check"), "ok");
    std::swap(copy, db_);
    sqlite3_close(copy);
    EXPECT_EQ(copy_rows, text("select count(*) || '/' || ifnull(sum(length(v)),0) from t"));
  }
  std::uint64_t txid() { return position().txid.value(); }

  LockDir locks_;
  os::FakeDisk disk_;
  bool late_ = false;  // the log is synced as late as can be
  std::unique_ptr<SqliteOnEngine> sql_;
  sqlite3* db_ = nullptr;
  std::string last_error_;
};

struct Mode {
  const char* journal;
  const char* synchronous;
  int page_size;
};
std::string mode_name(const testing::TestParamInfo<Mode>& info) {
  return std::string(info.param.journal) + "_" + info.param.synchronous + "_" + std::to_string(info.param.page_size);
}

class CaptureModes : public CaptureTest, public testing::WithParamInterface<Mode> {
 protected:
  void prepare() {
    must("pragma page_size=" + std::to_string(GetParam().page_size));
    must("pragma journal_mode=" + std::string(GetParam().journal));
    must("pragma synchronous=" + std::string(GetParam().synchronous));
  }
};

TEST_P(CaptureModes, EachWriteTransactionIsOneTxidAndTheLogIsTheDatabase) {
  prepare();
  must("create table t(id integer primary key, v)");
  std::uint64_t before = txid();
  for (int i = 0; i < 20; ++i) must("insert into t(v) values(randomblob(300))");
  EXPECT_EQ(txid(), before + 20);
  must("begin; update t set v=randomblob(2000); commit");
  EXPECT_EQ(txid(), before + 21);
  check_log();
}

TEST_P(CaptureModes, RollbacksAddNothing) {
  prepare();
  must("create table t(id integer primary key, v)");
  must("insert into t(v) values(randomblob(300))");
  std::uint64_t before = txid();
  must("begin; insert into t(v) values(randomblob(30000)); rollback");
  must("pragma cache_size=5; begin");
  for (int i = 0; i < 50; ++i) must("insert into t(v) values(randomblob(3000))");
  must("rollback");
  if (std::string(GetParam().journal) != "off") {
    EXPECT_EQ(txid(), before);
    check_log();
  }
}

TEST_P(CaptureModes, SpilledTransactionsVacuumAndShrinkAreCaptured) {
  prepare();
  must("create table t(id integer primary key, v); pragma cache_size=5; begin");
  for (int i = 0; i < 200; ++i) must("insert into t(v) values(randomblob(3000))");
  must("commit");
  check_log();
  must("delete from t where id > 5");
  must("vacuum");
  check_log();
  for (int i = 0; i < 50; ++i) must("insert into t(v) values(randomblob(3000))");
  check_log();
}

TEST_P(CaptureModes, ReopenedAfterACleanStopItGoesOnWhereItWas) {
  prepare();
  must("create table t(id integer primary key, v); insert into t(v) values(1)");
  Position before = position();
  restart_cleanly();
  EXPECT_EQ(to_text(position()), to_text(before));
  must("insert into t(v) values(2)");
  EXPECT_EQ(txid(), before.txid.value() + 1);
  check_log();
}

INSTANTIATE_TEST_SUITE_P(All, CaptureModes,
                         testing::Values(Mode{"delete", "full", 4096}, Mode{"delete", "off", 512},
                                         Mode{"truncate", "normal", 1024}, Mode{"persist", "full", 8192},
                                         Mode{"memory", "full", 4096}, Mode{"off", "normal", 4096},
                                         Mode{"wal", "normal", 512}, Mode{"wal", "full", 4096},
                                         Mode{"wal", "off", 65536}, Mode{"delete", "extra", 65536},
                                         Mode{"persist", "off", 32768}),
                         mode_name);

TEST_F(CaptureTest, CheckpointsOfAllKindsLoseNothing) {
  must("pragma journal_mode=wal; create table t(id integer primary key, v)");
  for (const char* kind : {"passive", "full", "restart", "truncate"}) {
    for (int i = 0; i < 30; ++i) must("insert into t(v) values(randomblob(500))");
    must(std::string("pragma wal_checkpoint(") + kind + ")");
    must("update t set v=randomblob(400) where id % 3 = 0");
  }
  check_log();
}

TEST_F(CaptureTest, SmallAutocheckpointsRestartTheWalAgainAndAgain) {
  must("pragma journal_mode=wal; pragma wal_autocheckpoint=3; create table t(id integer primary key, v)");
  std::uint64_t before = txid();
  for (int i = 0; i < 300; ++i) must("insert into t(v) values(randomblob(100))");
  EXPECT_EQ(txid(), before + 300);
  check_log();
}

TEST_F(CaptureTest, JournalModeChangesInBothDirectionsAreCaptured) {
  must("create table t(id integer primary key, v)");
  for (const char* mode : {"wal", "delete", "wal", "persist", "truncate", "memory", "wal", "off", "wal", "delete"}) {
    must(std::string("pragma journal_mode=") + mode);
    must("insert into t(v) values(randomblob(700))");
    check_log();
  }
}

TEST_F(CaptureTest, ExclusiveLockingWithAHeapIndexIsCaptured) {
  must("pragma locking_mode=exclusive; pragma journal_mode=wal; create table t(id integer primary key, v)");
  EXPECT_EQ(sql_->engine().find("app.db")->part(PartKind::kShm), nullptr);
  for (int i = 0; i < 40; ++i) must("insert into t(v) values(randomblob(700))");
  must("pragma wal_checkpoint(restart)");
  must("insert into t(v) values(randomblob(700))");
  check_log();
}

TEST_F(CaptureTest, AutoVacuumAndALargeDeleteAreCaptured) {
  must("pragma auto_vacuum=full; pragma journal_mode=wal; create table t(id integer primary key, v)");
  must(
      "with recursive c(i) as (select 1 union all select i+1 from c where i<400) insert into t(v) select "
      "randomblob(3000) from c");
  must("delete from t where id > 3");
  check_log();
}

TEST_F(CaptureTest, VacuumThatChangesThePageSizeIsCaptured) {
  must("pragma page_size=1024; create table t(id integer primary key, v); insert into t(v) values(randomblob(9000))");
  must("pragma page_size=4096; vacuum");
  must("insert into t(v) values(randomblob(9000))");
  check_log();
  restart_cleanly();
  check_log();
}

TEST_F(CaptureTest, AttachedDatabasesCommitTogether) {
  must(
      "create table t(id integer primary key, v); attach 'other.db' as o; create table o.t(id integer primary key, v)");
  must("begin; insert into t(v) values(1); insert into o.t(v) values(2); commit");
  check_log();
  EXPECT_TRUE(replay(sql_->engine(), "other.db"));
  EXPECT_EQ(position("other.db").txid, Txid(2));
}

TEST_F(CaptureTest, DropAndRecreateWithAnotherPageSizeGoesOnCounting) {
  must("pragma page_size=512; create table t(id integer primary key, v); insert into t(v) values(randomblob(5000))");
  std::uint64_t before = txid();
  sqlite3_close(db_);
  std::optional<Status> dropped;
  sql_->engine().find("app.db")->remove(PartKind::kDatabase, [&](Status s) { dropped = std::move(s); });
  sql_->step();
  ASSERT_TRUE(dropped && dropped->has_value());
  EXPECT_EQ(sql_->engine().find("app.db"), nullptr);
  db_ = sql_->open("app.db");
  must("pragma page_size=8192; create table t(id integer primary key, v)");
  EXPECT_EQ(txid(), before + 2);
  check_log();
}

TEST_F(CaptureTest, AFullDiskFailsTheCommitAndLosesNothing) {
  must("pragma journal_mode=delete; create table t(id integer primary key, v); insert into t(v) values(1)");
  std::uint64_t before = txid();
  disk_.set_limit_bytes(disk_.used_bytes() + 40'000);
  int rc = exec("insert into t(v) values(randomblob(100000))");
  EXPECT_TRUE(rc == SQLITE_FULL || rc == SQLITE_IOERR) << rc;
  disk_.set_limit_bytes(std::numeric_limits<std::uint64_t>::max());
  must("insert into t(v) values(3)");
  EXPECT_GE(txid(), before + 1);
  EXPECT_EQ(text("select v from t"), "1,3");
  check_log();
}

TEST_F(CaptureTest, ASnapshotStaysAsItWasWhileTheAppWrites) {
  for (const char* mode : {"wal", "delete"}) {
    must(std::string("pragma journal_mode=") + mode + "; create table if not exists t(id integer primary key, v)");
    must(
        "with recursive c(i) as (select 1 union all select i+1 from c where i<300) insert into t(v) select "
        "randomblob(900) from c");
    std::shared_ptr<SnapshotReader> reader;
    sql_->engine().start_snapshot(sql_->engine().find("app.db"), [&](Result<std::shared_ptr<SnapshotReader>> r) {
      ASSERT_TRUE(r) << r.error().message();
      reader = *r;
    });
    sql_->step();
    ASSERT_NE(reader, nullptr);
    ltx::RollingChecksum sum;
    Bytes page(reader->page_size_bytes());
    for (std::uint32_t p = 1; p <= reader->page_count(); ++p) {
      if (p % 7 == 0) {
        must("update t set v=randomblob(900) where id % 11 = " + std::to_string(p % 11));
        if (p % 21 == 0 && std::string(mode) == "wal") must("pragma wal_checkpoint(truncate)");
        if (p % 49 == 0) must("delete from t where id > 250; insert into t(v) values(randomblob(90000)); vacuum");
      }
      Status read = reader->read_page(Pgno(p), page);
      ASSERT_TRUE(read) << read.error().message();
      sum.add(ltx::page_checksum(Pgno(p), page));
    }
    EXPECT_EQ(to_hex(sum.value()), to_hex(reader->position().checksum));
    reader.reset();
    sql_->step();
    check_log();
  }
}

// The log has the transaction by then: what the next writer rolls back is a transaction of its own.
TEST_F(CaptureTest, ACommitThatFailsAtItsLastStepIsTakenBack) {
  must("pragma synchronous=full; create table t(id integer primary key, v); insert into t(v) values('kept')");
  for (int n = 1; n < 8; ++n) {
    std::string rows = text("select count(*) from t");
    disk_.fail(os::FaultOp::kUnlink, static_cast<std::uint64_t>(n), EIO);
    bool failed = exec("insert into t(v) values(randomblob(9000))") != SQLITE_OK;
    disk_.clear_faults();
    must("delete from t where 0");  // whoever comes next rolls back
    if (failed) {
      EXPECT_EQ(text("select count(*) from t"), rows) << "unlink " << n;
    }
    check_log();
  }
}

TEST_F(CaptureTest, AFreePageThatAKilledTransactionUsedIsTakenAsItIs) {
  must(
      "pragma journal_mode=delete; create table t(id integer primary key, v); insert into t(v) "
      "values(randomblob(200000))");
  must("delete from t; insert into t(v) values('kept')");
  restart_cleanly();                   // now the checksums are saved, and boot reads no more than it must
  must("pragma cache_size=3; begin");  // free pages come into use and are spilled, not journalled
  for (int i = 0; i < 10; ++i) must("insert into t(v) values(randomblob(9000))");
  crash_and_start();
  EXPECT_EQ(text("select v from t"), "kept");
  std::shared_ptr<Database> db = sql_->engine().find("app.db");
  PartFile file = db->part(PartKind::kDatabase);
  ltx::RollingChecksum sum;
  Bytes page(4096);
  for (std::uint32_t p = 1; p <= db->page_count(); ++p) {
    ASSERT_TRUE(os::read_exactly(*file, page, std::uint64_t{p - 1} * 4096));
    sum.add(ltx::page_checksum(Pgno(p), page));
  }
  EXPECT_EQ(to_hex(sum.value()), to_hex(db->position().checksum));
  check_log();
}

// kill -9 and power loss, at every k-th change of the disk under a mixed load.
class CaptureCrash : public CaptureTest, public testing::WithParamInterface<std::tuple<const char*, bool, bool>> {
 protected:
  CaptureCrash() { late_ = std::get<2>(GetParam()); }
};

TEST_P(CaptureCrash, WhatWasAcknowledgedIsThereAfterwards) {
  auto [mode, power, late] = GetParam();
  std::string setup =
      std::string("pragma journal_mode=") + mode + "; pragma synchronous=full; pragma wal_autocheckpoint=7";
  must(setup + "; create table t(id integer primary key, v)");
  int acknowledged = 0;
  std::uint64_t seed = 1;
  for (int round = 0; round < 120; ++round) {
    Position told = position();
    disk_.cut_power_at(3 + static_cast<std::uint64_t>(round * 7 % 97));
    for (int i = 0; i < 30; ++i) {
      if (exec("insert into t(v) values(randomblob(" + std::to_string(100 + 211 * i) + "))") != SQLITE_OK) break;
      ++acknowledged;
      if (i % 9 == 8 && exec("update t set v=randomblob(50) where id % 5 = 0") != SQLITE_OK) break;
    }
    disk_.clear_faults();
    crash_and_start(power ? std::optional(seed++) : std::nullopt);
    if (HasFatalFailure()) return;
    must(setup);
    int rows = std::stoi(text("select count(*) from t"));
    ASSERT_GE(rows, acknowledged) << "round " << round;
    ASSERT_LE(rows, acknowledged + 1) << "round " << round;
    acknowledged = rows;
    ASSERT_GE(position().txid, told.txid);
    check_log();
    if (HasFailure()) {
      GTEST_FAIL() << "round " << round;
    }
  }
}

// Over several databases a transaction is committed by the end of the super-journal, whatever of it is in one log.
TEST_P(CaptureCrash, ATransactionOverTwoDatabasesIsInBothOrInNone) {
  auto [mode, power, late] = GetParam();
  if (mode == std::string("wal")) GTEST_SKIP() << "SQLite commits each WAL database by itself";
  std::string setup = std::string("pragma journal_mode=") + mode +
                      "; pragma synchronous=full; attach 'other.db' as o; pragma o.journal_mode=" + mode +
                      "; pragma o.synchronous=full";
  must(setup + "; create table t(id integer primary key, v); create table o.t(id integer primary key, v)");
  int acknowledged = 0;
  for (int round = 0; round < 100; ++round) {
    disk_.cut_power_at(3 + static_cast<std::uint64_t>(round * 7 % 97));
    for (int i = 0; i < 10; ++i) {
      std::string insert = "t(v) values(randomblob(" + std::to_string(100 + 511 * i) + "))";
      if (exec("begin; insert into " + insert + "; insert into o." + insert + "; commit") != SQLITE_OK) break;
      ++acknowledged;
    }
    disk_.clear_faults();
    crash_and_start(power ? std::optional<std::uint64_t>(static_cast<std::uint64_t>(round) + 1) : std::nullopt);
    if (HasFatalFailure()) return;
    must(setup);
    std::string rows = text("select count(*) from main.t");
    ASSERT_EQ(text("select count(*) from o.t"), rows) << "round " << round;
    ASSERT_GE(std::stoi(rows), acknowledged) << "round " << round;
    ASSERT_LE(std::stoi(rows), acknowledged + 1) << "round " << round;
    acknowledged = std::stoi(rows);
    must("detach o");
    check_log();
    must("attach 'other.db' as o");
    if (HasFailure()) {
      GTEST_FAIL() << "round " << round;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CaptureCrash,
                         testing::Combine(testing::Values("wal", "delete", "persist", "truncate"), testing::Bool(),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) ? "_power" : "_kill") +
                                  (std::get<2>(info.param) ? "_late_log" : "");
                         });

}  // namespace
}  // namespace caddis::db
