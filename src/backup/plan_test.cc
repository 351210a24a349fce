#include "backup/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backup/rfc3339.h"
#include "store/times.h"

namespace caddis::backup {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kStart = 1'700'000'000'000;

// Created at kStart + max seconds: transaction n was made n seconds after the start.
ObjectInfo object(int level, std::uint64_t min, std::uint64_t max) {
  return {level, Txid(min), Txid(max), 100, kStart + static_cast<std::int64_t>(max) * 1000};
}
std::int64_t second(int n) { return kStart + n * 1000; }

std::vector<std::string> names(const RestorePlan& plan) {
  std::vector<std::string> out;
  for (const ObjectInfo& o : plan.objects)
    out.push_back(fmt::format("{}:{}-{}", o.level, o.min.value(), o.max.value()));
  return out;
}

using Names = std::vector<std::string>;

TEST(PlanRestore, LatestIsTheNewestSnapshotAndWhatFollowsWithTheLongestSteps) {
  std::vector<ObjectInfo> objects{object(9, 1, 3), object(9, 1, 6), object(1, 1, 4), object(1, 5, 8),
                                  object(0, 7, 7), object(0, 8, 8), object(0, 9, 9), object(0, 10, 12)};
  auto plan = plan_restore(objects, {});
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_EQ(names(*plan), (Names{"9:1-6", "1:5-8", "0:9-9", "0:10-12"}));
  EXPECT_EQ(plan->txid, Txid(12));
  EXPECT_EQ(plan->created_ms, second(12));
  EXPECT_EQ(plan->total_bytes, 400u);
}

TEST(PlanRestore, WorksWithoutASnapshotFromTransactionOne) {
  auto plan = plan_restore({object(0, 1, 1), object(0, 2, 2)}, {});
  ASSERT_TRUE(plan);
  EXPECT_EQ(names(*plan), (Names{"0:1-1", "0:2-2"}));
}

TEST(PlanRestore, TiesGoToTheEarlierMinThenTheHigherLevel) {
  auto plan = plan_restore({object(9, 1, 4), object(0, 5, 8), object(1, 3, 8), object(2, 3, 8)}, {});
  ASSERT_TRUE(plan);
  EXPECT_EQ(names(*plan), (Names{"9:1-4", "2:3-8"}));
}

TEST(PlanRestore, TxidTakesTheLastSnapshotNotAfterIt) {
  std::vector<ObjectInfo> objects{object(9, 1, 3), object(9, 1, 9), object(0, 4, 4), object(0, 5, 5), object(0, 6, 9)};
  auto plan = plan_restore(objects, {.txid = Txid(5)});
  ASSERT_TRUE(plan);
  EXPECT_EQ(names(*plan), (Names{"9:1-3", "0:4-4", "0:5-5"}));
}

TEST(PlanRestore, TxidInsideARangeNamesTheNearestPoints) {
  auto plan = plan_restore({object(9, 1, 3), object(0, 4, 4), object(0, 5, 9)}, {.txid = Txid(7)});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(plan.error().message(), HasSubstr("TXID 0000000000000007"));
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000004 (2023-11-14T22:13:24.000Z) before"));
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000009 (2023-11-14T22:13:29.000Z) after"));
}

TEST(PlanRestore, TxidBeyondTheEndNamesTheNewest) {
  auto plan = plan_restore({object(9, 1, 3)}, {.txid = Txid(4)});
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000003 (2023-11-14T22:13:23.000Z) before"));
  EXPECT_THAT(plan.error().message(), ::testing::Not(HasSubstr("after")));
}

TEST(PlanRestore, TimeIsTheLastTransactionStrictlyBeforeIt) {
  std::vector<ObjectInfo> objects{object(9, 1, 3), object(0, 4, 4), object(0, 5, 5), object(0, 6, 6)};
  auto at = [&](std::int64_t t) { return plan_restore(objects, {.timestamp_ms = t}); };
  EXPECT_EQ(at(second(5))->txid, Txid(4));
  EXPECT_EQ(at(second(5) + 1)->txid, Txid(5));
  EXPECT_EQ(at(second(1000))->txid, Txid(6));
}

TEST(PlanRestore, TimeBeforeTheFirstObjectNamesTheOldest) {
  auto plan = plan_restore({object(9, 1, 3), object(0, 4, 4)}, {.timestamp_ms = second(3)});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000003 (2023-11-14T22:13:23.000Z) after"));
}

TEST(PlanRestore, TimeInsideACompactedObjectIsAnErrorNotAnEarlierState) {
  auto plan = plan_restore({object(9, 1, 3), object(1, 4, 9)}, {.timestamp_ms = second(7)});
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message(), HasSubstr("compacted"));
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000003"));
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000009"));
}

TEST(PlanRestore, TimeBeforeACompactedObjectOfOneTransactionIsExact) {
  auto plan = plan_restore({object(9, 1, 3), object(1, 4, 4)}, {.timestamp_ms = second(4)});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->txid, Txid(3));
}

TEST(PlanRestore, GapIsAnErrorThatSaysWhatIsMissing) {
  auto plan = plan_restore({object(9, 1, 3), object(0, 4, 4), object(0, 7, 7), object(0, 8, 8)}, {});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000005 to 0000000000000006"));
  EXPECT_THAT(plan.error().message(), HasSubstr("0000000000000007-0000000000000007.ltx"));
  EXPECT_TRUE(plan_restore({object(9, 1, 3), object(0, 4, 4), object(0, 7, 7)}, {.txid = Txid(4)}));
}

TEST(PlanRestore, GapBeforeANewerSnapshotDoesNotMatter) {
  auto plan = plan_restore({object(0, 1, 3), object(9, 1, 9), object(0, 7, 7), object(0, 10, 10)}, {});
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_EQ(names(*plan), (Names{"9:1-9", "0:10-10"}));
}

TEST(PlanRestore, NothingThereIsNotFound) {
  auto plan = plan_restore({}, {});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code(), ErrorCode::kNotFound);
}

TEST(PlanRestore, BothPointsAreRefused) {
  EXPECT_EQ(plan_restore({object(9, 1, 3)}, {.txid = Txid(3), .timestamp_ms = 1}).error().code(), ErrorCode::kInvalid);
}

TEST(RestorablePoints, AreExactlyWhatThePlanAccepts) {
  std::vector<ObjectInfo> objects{object(9, 1, 3),  object(1, 1, 4),   object(0, 5, 6),  object(0, 9, 9),
                                  object(9, 1, 12), object(0, 13, 15), object(1, 10, 14)};
  std::vector<Txid> listed;
  for (const RestorablePoint& p : restorable_points(objects)) listed.push_back(p.txid);
  std::vector<Txid> accepted;
  for (std::uint64_t t = 1; t < 20; ++t) {
    if (plan_restore(objects, {.txid = Txid(t)})) accepted.push_back(Txid(t));
  }
  EXPECT_EQ(listed, accepted);
}

TEST(Rfc3339, RoundTripsAndRefusesNonsense) {
  EXPECT_EQ(format_rfc3339(1'700'000'000'123), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(store::parse_rfc3339("2023-11-14T22:13:20.123Z").value(), 1'700'000'000'123);
  EXPECT_EQ(store::parse_rfc3339("2023-11-14T22:13:20Z").value(), 1'700'000'000'000);
  EXPECT_EQ(store::parse_rfc3339("2023-11-15T00:13:20.1234567+02:00").value(), 1'700'000'000'123);
  for (const char* bad : {"", "2023-11-14", "2023-11-14T22:13:20", "2023-13-14T22:13:20Z", "2023-02-30T22:13:20Z",
                          "2023-11-14T24:13:20Z", "2023-11-14T22:13:20.Z", "yesterday", "2023-11-14T22:13:20Z "})
    EXPECT_FALSE(store::parse_rfc3339(bad)) << bad;
}

}  // namespace
}  // namespace caddis::backup
