#include "backup/boot_restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "backup/page_batch.h"
#include "backup/test_folder.h"
#include "backup/test_target.h"
#include "backup/upload_note.h"

namespace caddis::backup {
namespace {

using ::testing::HasSubstr;
using Kind = TargetAnswer::Kind;

TEST(DecideBoot, NothingAnywhereIsAFreshStartUnlessRequired) {
  std::vector<TargetAnswer> answers{{Kind::kNothing, "a", ""}, {Kind::kNothing, "b", ""}};
  EXPECT_EQ(decide_boot(answers, false).kind, BootDecision::Kind::kFresh);
  EXPECT_EQ(decide_boot(answers, true).kind, BootDecision::Kind::kFail);
}

TEST(DecideBoot, TargetThatDidNotAnswerIsNeverAFreshStart) {
  BootDecision d =
      decide_boot({{Kind::kNothing, "s3://a", ""}, {Kind::kFailed, "s3://b", "connection refused"}}, false);
  EXPECT_EQ(d.kind, BootDecision::Kind::kFail);
  EXPECT_THAT(d.text, HasSubstr("s3://b: connection refused"));
}

TEST(DecideBoot, DataIsRestoredAndASilentTargetNamed) {
  EXPECT_EQ(decide_boot({{Kind::kData, "a", ""}, {Kind::kNothing, "b", ""}}, true).text, "");
  BootDecision d = decide_boot({{Kind::kFailed, "a", "timeout"}, {Kind::kData, "b", ""}}, false);
  EXPECT_EQ(d.kind, BootDecision::Kind::kRestore);
  EXPECT_THAT(d.text, HasSubstr("a: timeout"));
}

// A real database file of `rows` rows as a history of one transaction.
Bytes sqlite_image(const std::string& path, int rows) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  std::string sql =
      "CREATE TABLE t(v); INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
      std::to_string(rows) + ") SELECT i FROM n;";
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  Bytes image(1 << 20);
  image.resize(std::fread(image.data(), 1, image.size(), file));
  std::fclose(file);
  EXPECT_EQ(std::remove(path.c_str()), 0);
  return image;
}

class BootRestoreTest : public ::testing::Test {
 protected:
  // Puts the image there as a snapshot 1-txid; returns the position.
  Position put_image(MemoryTarget& target, const std::string& name, const Bytes& image, std::uint64_t txid) {
    ltx::Header header;
    header.page_size_bytes = 4096;
    header.commit = static_cast<std::uint32_t>(image.size() / 4096);
    header.min_txid = Txid(1);
    header.max_txid = Txid(txid);
    header.timestamp_ms = 1'700'000'000'000;
    ltx::RollingChecksum sum;
    for (std::uint32_t i = 0; i < header.commit; ++i)
      sum.add(ltx::page_checksum(Pgno(i + 1), ByteView(image).subspan(i * 4096, 4096)));
    header = ltx::untracked_header(header, ltx::Cds1{sum.value(), 1});
    Bytes object;
    auto encoder = ltx::make_encoder(ltx::Version::kV3, header, [&object](ByteView piece) -> Status {
      append(object, piece);
      return {};
    });
    for (std::uint32_t i = 0; i < header.commit; ++i)
      EXPECT_TRUE(encoder->add_page(Pgno(i + 1), ByteView(image).subspan(i * 4096, 4096)));
    EXPECT_TRUE(encoder->finish(sum.value()));
    target.insert(name, kSnapshotLevel, Txid(1), Txid(txid), std::move(object));
    return {Txid(txid), sum.value()};
  }

  Result<std::vector<RestoredDatabase>> boot(BootRestoreOptions options = {.timeout_ms = 300},
                                             std::stop_token stop = {}) {
    InstallRestored install = [this](const std::string& name, const std::string& tmp_name,
                                     Position position) -> Status {
      if (fail_install == name) return make_error(ErrorCode::kIo, "disk on fire");
      TRY_ASSIGN(auto caddis, folder.dir->open_dir("caddis"));
      TRY_ASSIGN(auto tmp, caddis->open_dir("tmp"));
      TRY_ASSIGN(auto dbs, folder.dir->make_dir("dbs"));
      TRY_ASSIGN(auto dir, dbs->make_dir(name));
      installed[name] = position;
      return tmp->rename(tmp_name, *dir, "database");
    };
    std::vector<Target*> targets{&first, &second};
    return loop::run_until_done(loop, boot_restore(loop, clock, *folder.dir, targets, install, options, stop));
  }
  Bytes installed_image(const std::string& name) {
    auto dbs = folder.dir->open_dir("dbs");
    auto dir = (*dbs)->open_dir(name);
    return os::read_file(**dir, "database").value();
  }

  TestFolder folder;
  loop::Loop loop;
  SystemClock clock;
  MemoryTarget first{loop, "s3://first/x"};
  MemoryTarget second{loop, "file:///second"};
  std::map<std::string, Position> installed;
  std::string fail_install;
};

TEST_F(BootRestoreTest, EveryDatabaseIsRestoredCheckedAndNoted) {
  Bytes a = sqlite_image(folder.path() + "/x", 10), b = sqlite_image(folder.path() + "/x", 5000);
  Position pa = put_image(first, "a.db", a, 3), pb = put_image(first, "b.db", b, 8);
  first.other_names = {"static"};
  auto result = boot();
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->size(), 2u);
  EXPECT_EQ(installed, (std::map<std::string, Position>{{"a.db", pa}, {"b.db", pb}}));
  EXPECT_EQ(installed_image("a.db"), a);
  EXPECT_EQ(installed_image("b.db"), b);
  EXPECT_FALSE(is_restore_pending(*folder.dir).value());
  auto caddis = folder.dir->open_dir("caddis");
  EXPECT_EQ(UploadNotes::open(**caddis, target_id("s3://first/x"))->read("a.db"), pa);
  EXPECT_EQ(UploadNotes::open(**caddis, target_id("file:///second"))->read("a.db"), std::nullopt);
}

TEST_F(BootRestoreTest, TheTargetThatIsFurthestWins) {
  put_image(first, "a.db", sqlite_image(folder.path() + "/x", 10), 3);
  Bytes newer = sqlite_image(folder.path() + "/x", 20);
  Position position = put_image(second, "a.db", newer, 4);
  ASSERT_TRUE(boot());
  EXPECT_EQ(installed["a.db"], position);
  EXPECT_EQ(installed_image("a.db"), newer);
}

TEST_F(BootRestoreTest, NothingThereIsAFreshStart) {
  auto result = boot();
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_TRUE(result->empty());
  auto required = boot({.required = true, .timeout_ms = 300});
  ASSERT_FALSE(required);
  EXPECT_EQ(required.error().code(), ErrorCode::kUnavailable);
}

TEST_F(BootRestoreTest, SilentTargetIsUnavailableAfterTheTimeout) {
  first.silent = true;
  TimeMs begun = clock.now();
  auto result = boot({.timeout_ms = 400});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(result.error().message(), HasSubstr("s3://first/x: no answer"));
  EXPECT_GE(clock.now() - begun, 400);
  EXPECT_LT(clock.now() - begun, 5000);
}

TEST_F(BootRestoreTest, WrongKeysFailWithoutWaiting) {
  first.fail = Error(ErrorCode::kDenied, "403 SignatureDoesNotMatch");
  TimeMs begun = clock.now();
  auto result = boot({.timeout_ms = 60'000});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(result.error().message(), HasSubstr("403"));
  EXPECT_LT(clock.now() - begun, 5000);
}

TEST_F(BootRestoreTest, TargetThatAnswersLateIsStillAsked) {
  put_image(first, "a.db", sqlite_image(folder.path() + "/x", 10), 3);
  first.fail = Error(ErrorCode::kUnavailable, "503");
  loop::Timer timer = loop::Timer::after(loop, 300, [&] { first.fail.reset(); });
  auto result = boot({.timeout_ms = 20'000});
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->size(), 1u);
}

TEST_F(BootRestoreTest, FileThatIsNoSoundDatabaseIsNotInstalled) {
  put_image(first, "good.db", sqlite_image(folder.path() + "/x", 10), 3);
  put_image(first, "junk.db", Bytes(4096 * 3, 7), 3);
  auto result = boot();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(result.error().message(), HasSubstr("junk.db"));
  EXPECT_TRUE(installed.empty());
}

TEST_F(BootRestoreTest, CutOffInstallIsPendingAndFinishedByTheNextBoot) {
  put_image(first, "a.db", sqlite_image(folder.path() + "/x", 10), 3);
  put_image(first, "b.db", sqlite_image(folder.path() + "/x", 10), 3);
  fail_install = "b.db";
  ASSERT_FALSE(boot());
  EXPECT_TRUE(installed.contains("a.db"));
  EXPECT_TRUE(is_restore_pending(*folder.dir).value());
  fail_install.clear();
  installed.clear();
  auto result = boot();
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(installed.size(), 1u);
  EXPECT_TRUE(installed.contains("b.db"));
  EXPECT_FALSE(is_restore_pending(*folder.dir).value());
}

TEST_F(BootRestoreTest, ReplicaOfLitestream03IsNoFreshStart) {
  first.other_names = {"app.db"};
  first.litestream_03_names = {"app.db"};
  auto result = boot();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("Litestream 0.3"));
}

TEST_F(BootRestoreTest, StopIsObeyedAtOnce) {
  first.silent = true;
  std::stop_source stop;
  loop::Timer timer = loop::Timer::after(loop, 30, [&] { stop.request_stop(); });
  TimeMs begun = clock.now();
  auto result = boot({.timeout_ms = 60'000}, stop.get_token());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCancelled);
  EXPECT_LT(clock.now() - begun, 3000);
}

}  // namespace
}  // namespace caddis::backup
