#include "backup/continuity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::backup {
namespace {

using ::testing::HasSubstr;

constexpr Checksum kA{Checksum::kFlag | 0xa};
constexpr Checksum kB{Checksum::kFlag | 0xb};
constexpr Checksum kC{Checksum::kFlag | 0xc};

RemoteTail remote_at(std::uint64_t txid, std::optional<Checksum> checksum) {
  return {.empty = false,
          .newest = Txid(txid),
          .checksum = checksum,
          .epoch = 1,
          .page_size_bytes = 4096,
          .restorable = Txid(txid)};
}
LocalTail local_at(std::uint64_t txid, Checksum checksum) {
  return {.position = {Txid(txid), checksum}, .page_size_bytes = 4096, .log_follows = true};
}

TEST(DecideStart, EmptyTargetGetsTheWholeLogOrASnapshot) {
  LocalTail local = local_at(5, kA);
  EXPECT_EQ(decide_start({}, local).action, StartAction::kContinue);
  EXPECT_EQ(decide_start({}, local).from, Txid(0));
  local.log_follows = false;
  EXPECT_EQ(decide_start({}, local).action, StartAction::kSnapshot);
}

TEST(DecideStart, SamePositionContinues) {
  StartDecision d = decide_start(remote_at(5, kA), local_at(5, kA));
  EXPECT_EQ(d.action, StartAction::kContinue);
  EXPECT_EQ(d.from, Txid(5));
}

TEST(DecideStart, SameTxidWithAnotherChecksumStops) {
  StartDecision d = decide_start(remote_at(5, kA), local_at(5, kB));
  EXPECT_EQ(d.action, StartAction::kStop);
  EXPECT_THAT(d.why, HasSubstr("another history"));
}

TEST(DecideStart, TargetAheadStopsAndSaysBothPositions) {
  StartDecision d = decide_start(remote_at(7, kA), local_at(5, kA));
  EXPECT_EQ(d.action, StartAction::kStop);
  EXPECT_THAT(d.why, HasSubstr("0000000000000007"));
  EXPECT_THAT(d.why, HasSubstr("0000000000000005"));
}

TEST(DecideStart, TargetBehindContinuesWhenTheLogHoldsItsPosition) {
  LocalTail local = local_at(9, kB);
  local.checksum_at_remote = kA;
  EXPECT_EQ(decide_start(remote_at(5, kA), local).action, StartAction::kContinue);
  EXPECT_EQ(decide_start(remote_at(5, kC), local).action, StartAction::kStop);
  local.log_follows = false;
  EXPECT_EQ(decide_start(remote_at(5, kA), local).action, StartAction::kSnapshot);
}

TEST(DecideStart, TheNoteOfTheLastUploadProvesWhatTheLogNoLongerSays) {
  LocalTail local = local_at(9, kB);
  EXPECT_EQ(decide_start(remote_at(5, kA), local).action, StartAction::kSnapshot);
  local.uploaded = Position{Txid(5), kA};
  EXPECT_EQ(decide_start(remote_at(5, kA), local).action, StartAction::kContinue);
  local.uploaded = Position{Txid(5), kC};
  EXPECT_EQ(decide_start(remote_at(5, kA), local).action, StartAction::kStop);
}

TEST(DecideStart, ObjectsOfLitestreamNeedTheNoteElseASnapshot) {
  LocalTail local = local_at(5, kA);
  EXPECT_EQ(decide_start(remote_at(5, std::nullopt), local).action, StartAction::kSnapshot);
  local.uploaded = Position{Txid(5), kA};
  EXPECT_EQ(decide_start(remote_at(5, std::nullopt), local).action, StartAction::kContinue);
}

TEST(DecideStart, GapOrOtherPageSizeNeedsASnapshot) {
  RemoteTail remote = remote_at(5, kA);
  remote.restorable = Txid(3);
  EXPECT_EQ(decide_start(remote, local_at(5, kA)).action, StartAction::kSnapshot);
  remote = remote_at(5, kA);
  remote.page_size_bytes = 512;
  EXPECT_EQ(decide_start(remote, local_at(5, kA)).action, StartAction::kSnapshot);
}

}  // namespace
}  // namespace caddis::backup
