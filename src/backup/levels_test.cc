#include "backup/levels.h"

#include <gtest/gtest.h>

namespace caddis::backup {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

ObjectInfo object(int level, std::uint64_t min, std::uint64_t max, std::int64_t age_ms = 0) {
  return {level, Txid(min), Txid(max), 100, kNow - age_ms};
}
constexpr std::int64_t kHour = 3'600'000;

TEST(PlanCompaction, TakesWhatFollowsTheNewestOfTheLevel) {
  auto runs = plan_compaction({object(1, 1, 3), object(0, 3, 3), object(0, 5, 6), object(0, 4, 4)}, 1);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0], (std::vector<ObjectInfo>{object(0, 4, 4), object(0, 5, 6)}));
}

TEST(PlanCompaction, GapCutsTheRun) {
  auto runs = plan_compaction({object(0, 4, 4), object(0, 7, 7), object(0, 8, 9)}, 1);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].size(), 1u);
  EXPECT_EQ(runs[1].size(), 2u);
}

TEST(PlanCompaction, ObjectThatIsCompactedInPartIsTakenAgain) {
  auto runs = plan_compaction({object(1, 1, 4), object(0, 3, 6), object(0, 7, 7)}, 1);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].size(), 2u);
}

TEST(PlanCompaction, NothingNewGivesNothing) {
  EXPECT_TRUE(plan_compaction({object(1, 1, 4), object(0, 4, 4)}, 1).empty());
  EXPECT_TRUE(plan_compaction({}, 2).empty());
}

TEST(NextBoundary, IsTheNextWallClockMultiple) {
  EXPECT_EQ(next_boundary_ms(60'000, 30'000), 90'000);
  EXPECT_EQ(next_boundary_ms(89'999, 30'000), 90'000);
}

TEST(SnapshotDue, WhenNoneExistsOrTheNewestIsOldAndBehind) {
  EXPECT_TRUE(snapshot_due({object(0, 1, 1)}, Txid(1), kNow, 24 * kHour));
  EXPECT_FALSE(snapshot_due({}, Txid(0), kNow, 24 * kHour));
  EXPECT_FALSE(snapshot_due({object(9, 1, 1, kHour)}, Txid(5), kNow, 24 * kHour));
  EXPECT_TRUE(snapshot_due({object(9, 1, 1, 25 * kHour)}, Txid(5), kNow, 24 * kHour));
  EXPECT_FALSE(snapshot_due({object(9, 1, 5, 25 * kHour)}, Txid(5), kNow, 24 * kHour));
}

TEST(ExpiredLevel0, OnlyOldObjectsThatLevel1HoldsAndNeverTheNewest) {
  RetentionOptions options;
  std::vector<ObjectInfo> objects{object(0, 1, 1, kHour), object(0, 2, 2, kHour), object(0, 3, 3, kHour),
                                  object(1, 1, 2)};
  EXPECT_EQ(expired_level0(objects, kNow, options), (std::vector<ObjectInfo>{objects[0], objects[1]}));
  objects.push_back(object(1, 3, 3));
  EXPECT_EQ(expired_level0(objects, kNow, options).size(), 2u);
  options.level0_retention_ms = 0;
  EXPECT_TRUE(expired_level0(objects, kNow, options).empty());
}

TEST(ExpiredLevel0, StopsAtTheFirstThatIsTooRecent) {
  std::vector<ObjectInfo> objects{object(0, 1, 1, kHour), object(0, 2, 2, 1000), object(0, 3, 3, kHour),
                                  object(0, 4, 4), object(1, 1, 4)};
  EXPECT_EQ(expired_level0(objects, kNow, {}).size(), 1u);
}

TEST(ExpiredSnapshots, KeepTheNewestAndTheLevelsAboveTheLastDeleted) {
  std::vector<ObjectInfo> objects{object(9, 1, 10, 50 * kHour),
                                  object(9, 1, 20, 26 * kHour),
                                  object(9, 1, 30, kHour),
                                  object(1, 1, 9),
                                  object(1, 10, 19),
                                  object(1, 20, 25),
                                  object(1, 26, 30)};
  EXPECT_EQ(expired_snapshots(objects, kNow, {}),
            (std::vector<ObjectInfo>{objects[0], objects[1], objects[3], objects[4]}));
}

TEST(ExpiredSnapshots, OldOnlySnapshotStays) {
  EXPECT_TRUE(expired_snapshots({object(9, 1, 3, 100 * kHour)}, kNow, {}).empty());
}

}  // namespace
}  // namespace caddis::backup
