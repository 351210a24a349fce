#include "backup/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "backup/page_batch.h"
#include "backup/test_folder.h"
#include "backup/test_target.h"

namespace caddis::backup {
namespace {

using ::testing::HasSubstr;

// An object of the files [from, to) of the history.
Bytes object_of(const TestHistory& history, std::size_t from, std::size_t to) {
  PageBatch batch(64u << 20);
  for (std::size_t i = from; i < to; ++i) {
    auto decoder = ltx::make_decoder(ltx::Version::kV1, ltx::source_of(history.files()[i].v1));
    EXPECT_EQ(batch.add(*decoder).value(), PageBatch::Added::kAdded);
  }
  auto object = batch.encode(1);
  EXPECT_TRUE(object) << object.error().message();
  return *object;
}

class Restore : public ::testing::Test {
 protected:
  void add(int level, std::size_t from, std::size_t to) {
    const auto& files = history.files();
    target.insert("app.db", level, files[from].min, files[to - 1].max, object_of(history, from, to), history.wall_ms());
  }
  Result<RestoreResult> restore(RestoreOptions options = {}, std::stop_token stop = {}) {
    return loop::run_until_done(loop,
                                restore_database(loop, target, "app.db", *folder.dir, "out", std::move(options), stop));
  }
  TestFolder folder;
  loop::Loop loop;
  MemoryTarget target{loop};
  TestHistory history;
};

TEST_F(Restore, GivesTheSameBytesAndTheProvenPosition) {
  history.commit({}, 40);
  for (std::uint32_t i = 0; i < 30; ++i) history.commit({1, 2 + i, 30}, i % 3 == 0 ? 45 - i : 40);
  add(9, 0, 5);
  add(1, 5, 20);
  for (std::size_t i = 20; i < history.files().size(); ++i) add(0, i, i + 1);
  std::uint64_t last_progress = 0;
  RestoreOptions options;
  options.progress = [&](const RestoreProgress& p) {
    EXPECT_LE(p.done_bytes, p.total_bytes);
    last_progress = p.done_bytes;
  };
  auto result = restore(options);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->position, history.position());
  EXPECT_TRUE(result->proven);
  EXPECT_EQ(result->page_count, history.page_count());
  EXPECT_EQ(result->page_size_bytes, 512u);
  EXPECT_EQ(result->timestamp_ms, history.wall_ms());
  EXPECT_EQ(result->read_bytes, last_progress);
  EXPECT_EQ(folder.read("out"), history.image());
}

TEST_F(Restore, ToATxidGivesThatState) {
  history.commit({}, 5);
  history.commit({2, 3}, 7);
  Bytes image = history.image();
  Position position = history.position();
  history.commit({1}, 4);
  add(0, 0, 1);
  add(0, 1, 2);
  add(0, 2, 3);
  auto result = restore({.point = {.txid = Txid(2)}});
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->position, position);
  EXPECT_EQ(folder.read("out"), image);
}

TEST_F(Restore, ToATimeUsesTheTimesInTheHeaders) {
  history.commit({}, 5);
  history.commit({2}, 5);
  Bytes image = history.image();
  history.commit({3}, 5);
  for (std::size_t i = 0; i < 3; ++i) add(0, i, i + 1);  // the store's own times are all the same
  auto result = restore({.point = {.timestamp_ms = history.wall_ms()}});
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->position.txid, Txid(2));
  EXPECT_EQ(folder.read("out"), image);
}

TEST_F(Restore, DamagedObjectIsNamedAndNoFileStays) {
  history.commit({}, 50);
  history.commit({7}, 50);
  add(0, 0, 1);
  add(0, 1, 2);
  Bytes& data = target.objects[{"app.db", 0, Txid(2), Txid(2)}].data;
  for (std::size_t at : {std::size_t{150}, data.size() - 3, data.size() / 2, std::size_t{85}}) {
    data[at] ^= 0x10;
    auto result = restore();
    data[at] ^= 0x10;
    ASSERT_FALSE(result) << at;
    EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(result.error().message(), HasSubstr("level 0 0000000000000002-0000000000000002.ltx"));
    EXPECT_EQ(folder.list(), std::vector<std::string>{});
  }
  EXPECT_TRUE(restore());
}

TEST_F(Restore, ObjectOfAnotherHistoryIsFoundByTheDatabaseChecksum) {
  TestHistory other(512, 9);
  other.commit({}, 10);
  other.commit({3}, 10);
  history.commit({}, 10);
  add(0, 0, 1);
  target.insert("app.db", 0, Txid(2), Txid(2), object_of(other, 1, 2));
  auto result = restore();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("checksum"));
}

TEST_F(Restore, LargeObjectsAreReadInPiecesSideBySide) {
  TestHistory big(4096);
  big.commit({}, 2500);  // several pieces of 2 MiB
  PageBatch batch(64u << 20);
  auto decoder = ltx::make_decoder(ltx::Version::kV1, ltx::source_of(big.files()[0].v1));
  ASSERT_EQ(batch.add(*decoder).value(), PageBatch::Added::kAdded);
  target.insert("app.db", 9, Txid(1), Txid(1), *batch.encode(1));
  auto result = restore({.parallelism = 2});
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_GT(target.requests, 3);
  EXPECT_EQ(folder.read("out"), big.image());
}

TEST_F(Restore, StopEndsItAtOnce) {
  history.commit({}, 5);
  add(0, 0, 1);
  std::stop_source stop;
  loop::Timer timer = loop::Timer::after(loop, 20, [&] { stop.request_stop(); });
  target.silent = true;
  auto result = restore({}, stop.get_token());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCancelled);
}

TEST_F(Restore, NothingThereIsNotFound) {
  auto result = restore();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kNotFound);
}

TEST_F(Restore, TargetThatFailsIsSaid) {
  history.commit({}, 5);
  add(0, 0, 1);
  target.fail = Error(ErrorCode::kUnavailable, "503 Slow Down");
  auto result = restore();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace caddis::backup
