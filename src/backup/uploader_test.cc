#include "backup/uploader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "backup/restore.h"
#include "backup/test_folder.h"
#include "backup/test_target.h"

namespace caddis::backup {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class UploaderTest : public ::testing::Test {
 protected:
  UploaderTest() {
    options.sync_interval_ms = 10;
    options.levels = {{1, 3'600'000}};
    options.retention_check_ms = 3'600'000;
    options.first_retry_ms = 20;
  }
  ~UploaderTest() override {
    if (uploader) flush(0);
  }
  void start() {
    auto made = Uploader::create(loop, clock, databases, *folder.dir, &metrics, {{target, options}});
    ASSERT_TRUE(made) << made.error().message();
    uploader = std::move(*made);
    uploader->start();
  }
  void start_with_two(std::shared_ptr<MemoryTarget> other) {
    auto made = Uploader::create(loop, clock, databases, *folder.dir, &metrics, {{target, options}, {other, options}});
    uploader = std::move(*made);
    uploader->start();
  }
  // One transaction as the engine reports it.
  void commit(std::vector<std::uint32_t> pages, std::uint32_t size, std::uint64_t txids = 1) {
    history.commit(std::move(pages), size, txids);
    publish();
  }
  void publish(std::size_t keep_from = 0) {
    databases.set("app.db", history, keep_from);
    if (uploader) uploader->durable(FakeDatabases::commit_of("app.db", history));
  }
  // Runs the loop until the condition holds; at most 10 s.
  bool run_until(const std::function<bool()>& condition) {
    TimeMs begun = clock.now();
    bool met = false;
    loop::Timer timer = loop::Timer::every(loop, 2, [&] {
      met = condition();
      if (met || clock.now() - begun > 10'000) loop.stop();
    });
    loop.run();
    return met;
  }
  void run_for(std::int64_t ms) {
    loop::Timer timer = loop::Timer::after(loop, ms, [&] { loop.stop(); });
    loop.run();
  }
  bool uploaded() {
    return run_until(
        [&] { return status().uploaded == history.position().txid && status().state == ReplicaState::kFollow; });
  }
  ReplicaStatus status(std::size_t i = 0) {
    auto all = uploader->status();
    return i < all.size() ? all[i] : ReplicaStatus{};
  }
  std::vector<FlushResult> flush(std::int64_t ms) {
    auto results = loop::run_until_done(loop, uploader->flush(ms));
    uploader.reset();
    return results;
  }
  void expect_restorable() {
    auto result = loop::run_until_done(loop, restore_database(loop, *target, "app.db", *folder.dir, "out", {}, {}));
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->position, history.position());
    EXPECT_TRUE(result->proven);
    EXPECT_EQ(folder.read("out"), history.image());
  }
  std::vector<std::string> at(int level) { return target->names_at("app.db", level); }

  TestFolder folder;
  loop::Loop loop;
  SystemClock clock;
  Metrics metrics;
  TestHistory history;
  FakeDatabases databases;
  std::shared_ptr<MemoryTarget> target = std::make_shared<MemoryTarget>(loop);
  UploadOptions options;
  std::unique_ptr<Uploader> uploader;
};

TEST_F(UploaderTest, CommitsFollowAsLevel0BesideASnapshotAtTheStart) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  commit({2}, 10);
  ASSERT_TRUE(uploaded());
  commit({3}, 12, 5);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return at(9).size() == 1; }));
  EXPECT_EQ(at(0).front().substr(0, 16), "0000000000000001");
  EXPECT_EQ(at(0).back().substr(17), "0000000000000007.ltx");
  expect_restorable();
}

TEST_F(UploaderTest, ManyCommitsBecomeOneObjectOfAnInterval) {
  options.sync_interval_ms = 200;
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  for (std::uint32_t i = 0; i < 100; ++i) commit({1, 2 + i % 5}, 10);
  ASSERT_TRUE(uploaded());
  EXPECT_LE(at(0).size(), 3u);
  expect_restorable();
}

TEST_F(UploaderTest, NothingIsAskedWhenNothingChanges) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return at(9).size() == 1; }));
  int before = target->requests;
  run_for(100);
  EXPECT_EQ(target->requests, before);
}

TEST_F(UploaderTest, KeepingUpNeverListsTheLog) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  int before = databases.listings;
  for (int i = 0; i < 5; ++i) {
    commit({2}, 10);
    ASSERT_TRUE(uploaded());
  }
  EXPECT_EQ(databases.listings, before);
}

TEST_F(UploaderTest, RestartContinuesWhereTheTargetIs) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return at(9).size() == 1; }));
  flush(1000);
  commit({2}, 10);
  commit({3}, 10);
  start();
  ASSERT_TRUE(uploaded());
  EXPECT_EQ(at(0), (std::vector<std::string>{"0000000000000001-0000000000000001.ltx",
                                             "0000000000000002-0000000000000003.ltx"}));
  EXPECT_EQ(at(9).size(), 1u);
  expect_restorable();
}

TEST_F(UploaderTest, LogThatNoLongerReachesBackMeansASnapshot) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  flush(1000);
  for (std::uint32_t i = 2; i < 6; ++i) history.commit({i}, 10);
  publish(3);
  start();
  ASSERT_TRUE(uploaded());
  EXPECT_EQ(at(9).back(), "0000000000000001-0000000000000005.ltx");
  commit({9}, 11);
  ASSERT_TRUE(uploaded());
  expect_restorable();
}

TEST_F(UploaderTest, TargetWithAnotherHistoryIsLeftAloneAndSaid) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return at(9).size() == 1; }));
  flush(1000);
  auto before = target->objects.size();
  history = TestHistory(512, 77);
  std::filesystem::remove_all(folder.path() + "/targets");
  commit({}, 10);
  start();
  ASSERT_TRUE(run_until([&] { return status().state == ReplicaState::kHalted; }));
  EXPECT_THAT(status().error, HasSubstr("another history"));
  commit({2}, 10);
  run_for(100);
  EXPECT_EQ(target->objects.size(), before);
  auto results = flush(1000);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_FALSE(results[0].done);
}

TEST_F(UploaderTest, TargetAheadOfTheVolumeIsNotTouched) {
  start();
  commit({}, 10);
  commit({2}, 10);
  ASSERT_TRUE(uploaded());
  flush(1000);
  history = TestHistory(512, 1);
  commit({}, 10);
  start();
  ASSERT_TRUE(run_until([&] { return status().state == ReplicaState::kHalted; }));
  EXPECT_THAT(status().error, HasSubstr("ahead"));
}

TEST_F(UploaderTest, LostAnswerOfAPutIsRecognisedAsOurOwnObject) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  target->lose_answer_of_next_put = true;
  commit({2}, 10);
  ASSERT_TRUE(uploaded());
  EXPECT_EQ(at(0).size(), 2u);
  EXPECT_EQ(status().error, "");
}

TEST_F(UploaderTest, ForeignObjectUnderOurNameStopsTheTarget) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  Bytes foreign = target->objects.begin()->second.data;
  std::fill(foreign.begin() + 80, foreign.begin() + 100, std::uint8_t{0});
  target->insert("app.db", 0, Txid(2), Txid(2), foreign);
  commit({2}, 10);
  ASSERT_TRUE(run_until([&] { return status().state == ReplicaState::kHalted; }));
  EXPECT_THAT(status().error, HasSubstr("another program"));
  EXPECT_EQ((target->objects[{"app.db", 0, Txid(2), Txid(2)}].data), foreign);
}

TEST_F(UploaderTest, ErrorsAreTriedAgain) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  target->fail = Error(ErrorCode::kUnavailable, "503");
  commit({2}, 10);
  ASSERT_TRUE(run_until([&] { return status().error != ""; }));
  EXPECT_THAT(status().error, HasSubstr("503"));
  EXPECT_GE(status().lag_ms, 0);
  target->fail.reset();
  ASSERT_TRUE(uploaded());
  EXPECT_EQ(status().error, "");
}

TEST_F(UploaderTest, DeadTargetDoesNotDelayTheOther) {
  auto other = std::make_shared<MemoryTarget>(loop, "memory://other");
  target->silent = true;
  start_with_two(other);
  commit({}, 10);
  ASSERT_TRUE(run_until([&] { return status(1).uploaded == Txid(1); }));
  TimeMs begun = clock.now();
  auto results = flush(150);
  EXPECT_LT(clock.now() - begun, 3000);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_FALSE(results[0].done);
  EXPECT_TRUE(results[1].done);
}

TEST_F(UploaderTest, FlushSendsWhatIsLeftWithoutWaitingForTheInterval) {
  options.sync_interval_ms = 60'000;
  start();
  commit({}, 10);
  run_until([&] { return status().state == ReplicaState::kFollow; });
  commit({2}, 10);
  TimeMs begun = clock.now();
  auto results = flush(8'000);
  EXPECT_LT(clock.now() - begun, 5000);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_TRUE(results[0].done) << results[0].error;
  expect_restorable();
}

TEST_F(UploaderTest, GiantTransactionIsSentInParts) {
  options.batch_limit_bytes = 512 * 20;
  options.part_size_bytes = 2'000;
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  commit({}, 200);
  commit({4}, 200);
  ASSERT_TRUE(uploaded());
  EXPECT_GT(target->largest_part, 0u);
  EXPECT_LT(target->largest_part, 80'000u);
  expect_restorable();
}

TEST_F(UploaderTest, DropIsNotUploadedAndTheNextDatabaseBeginsWithASnapshot) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return at(9).size() == 1; }));
  history.drop();
  publish();
  ASSERT_TRUE(run_until([&] { return status().settled; }));
  EXPECT_EQ(at(0).size(), 1u);
  history.change_page_size(1024);
  commit({}, 4);
  ASSERT_TRUE(uploaded());
  EXPECT_EQ(at(9).back(), "0000000000000001-0000000000000003.ltx");
  commit({2}, 4);
  ASSERT_TRUE(uploaded());
  expect_restorable();
}

TEST_F(UploaderTest, Level1HoldsWhatLevel0HadAndLevel0Goes) {
  options.levels = {{1, 50}};
  options.retention_check_ms = 30;
  options.retention.level0_retention_ms = 1;
  start();
  for (std::uint32_t i = 0; i < 4; ++i) {
    commit(i == 0 ? std::vector<std::uint32_t>{} : std::vector<std::uint32_t>{i + 1}, 10);
    ASSERT_TRUE(uploaded());
  }
  ASSERT_TRUE(run_until(
      [&] { return !at(1).empty() && at(1).back().substr(17) == "0000000000000004.ltx" && at(0).size() == 1; }));
  EXPECT_EQ(at(1).front().substr(0, 16), "0000000000000001");
  EXPECT_EQ(at(1).back().substr(17), "0000000000000004.ltx");
  expect_restorable();
}

TEST_F(UploaderTest, Level1IsMadeFromTheObjectsWhenTheLogIsGone) {
  start();
  for (std::uint32_t i = 0; i < 4; ++i) {
    commit(i == 0 ? std::vector<std::uint32_t>{} : std::vector<std::uint32_t>{i + 1}, 10);
    ASSERT_TRUE(uploaded());
  }
  flush(1000);
  publish(3);
  options.levels = {{1, 50}};
  start();
  uploader->durable(FakeDatabases::commit_of("app.db", history));
  ASSERT_TRUE(run_until([&] { return !at(1).empty() && at(1).back().substr(17) == "0000000000000004.ltx"; }));
  target->objects.erase({"app.db", 9, Txid(1), Txid(1)});
  std::erase_if(target->objects, [](const auto& o) { return std::get<1>(o.first) == 0; });
  expect_restorable();
}

TEST_F(UploaderTest, ProcessesThatRunForLessThanAnIntervalCompactAtTheirStart) {
  start();
  for (std::uint32_t i = 0; i < 3; ++i) {
    commit(i == 0 ? std::vector<std::uint32_t>{} : std::vector<std::uint32_t>{i + 1}, 10);
    ASSERT_TRUE(uploaded());
  }
  flush(1000);
  start();  // the interval is an hour
  ASSERT_TRUE(run_until([&] { return !at(1).empty() && at(1).back().substr(17) == "0000000000000003.ltx"; }));
}

TEST_F(UploaderTest, BeginningOfARestoredLogIsNeverTakenForATransaction) {
  options.levels = {{1, 50}};
  start();
  commit({}, 10);
  commit({2}, 10);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return !at(1).empty() && at(1).back().substr(17) == "0000000000000002.ltx"; }));
  flush(1000);
  options.levels = {{1, 3'600'000}};
  commit({3, 4, 5}, 10);
  start();
  ASSERT_TRUE(uploaded());
  flush(1000);
  databases.set_restored("app.db", history);  // the volume was lost, and came back from here
  options.levels = {{1, 50}};
  start();
  ASSERT_TRUE(run_until([&] { return at(1).back().substr(17) == "0000000000000003.ltx"; }));
  std::erase_if(target->objects, [](const auto& o) { return std::get<1>(o.first) != 1; });
  expect_restorable();
}

TEST_F(UploaderTest, SecondTargetThatIsBehindARestoredVolumeGetsASnapshot) {
  auto other = std::make_shared<MemoryTarget>(loop, "memory://other");
  start_with_two(other);
  commit({}, 10);
  ASSERT_TRUE(run_until([&] { return status(0).uploaded == Txid(1) && status(1).uploaded == Txid(1); }));
  flush(1000);
  history.commit({2, 3}, 10);
  std::filesystem::remove_all(folder.path() + "/targets");
  databases.set_restored("app.db", history);
  start_with_two(other);
  ASSERT_TRUE(run_until([&] { return status(1).uploaded == Txid(2); }));
  auto result = loop::run_until_done(loop, restore_database(loop, *other, "app.db", *folder.dir, "out", {}, {}));
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(folder.read("out"), history.image());
}

TEST_F(UploaderTest, StoppedTargetCostsNothing) {
  options.levels = {{1, 20}};
  target->insert("app.db", 0, Txid(1), Txid(9), Bytes(10));
  target->fail = Error(ErrorCode::kUnavailable, "503");
  options.first_retry_ms = 5'000;
  start();
  commit({}, 10);
  ASSERT_TRUE(run_until([&] { return status().error != ""; }));
  std::clock_t before = std::clock();
  run_for(300);
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 20);  // the loop sleeps
}

TEST_F(UploaderTest, MetricsSayPositionAndLag) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr("caddis_backup_txid{db=\"app.db\",target=\"memory://test\"} 1"));
  EXPECT_THAT(text, HasSubstr("caddis_backup_lag_seconds{db=\"app.db\",target=\"memory://test\"} 0"));
  EXPECT_THAT(text, HasSubstr("caddis_backup_restorable_txid{db=\"app.db\",target=\"memory://test\"} 1"));
}

TEST_F(UploaderTest, MoreThanAHundredDatabasesAreOneSeries) {
  history.commit({}, 2);
  for (int i = 0; i < 101; ++i) databases.set("db" + std::to_string(i), history);
  start();
  ASSERT_TRUE(run_until([&] {
    auto all = uploader->status();
    return std::all_of(all.begin(), all.end(), [](const ReplicaStatus& s) { return s.uploaded == Txid(1); });
  }));
  std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr("caddis_backup_txid{db=\"_sum\",target=\"memory://test\"} 101"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("db=\"db1\"")));
}

TEST_F(UploaderTest, TheLogIsToldWhatIsStillNeeded) {
  start();
  commit({}, 10);
  ASSERT_TRUE(uploaded());
  ASSERT_TRUE(run_until([&] { return databases.needed["app.db"] == Txid(2); }));
}

}  // namespace
}  // namespace caddis::backup
