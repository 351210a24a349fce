#include "replica/standing.h"

#include <gtest/gtest.h>

#include "replica/backoff.h"

namespace caddis::replica {
namespace {

constexpr Position at(std::uint64_t txid, std::uint64_t sum) { return {Txid(txid), Checksum(Checksum::kFlag | sum)}; }

TEST(Standing, IsDecidedByTxidAndByChecksumWhereTxidsAreEqual) {
  EXPECT_EQ(standing(at(5, 1), at(5, 1)), Standing::kSame);
  EXPECT_EQ(standing({}, at(5, 1)), Standing::kNew);
  EXPECT_EQ(standing({}, {}), Standing::kSame);
  EXPECT_EQ(standing(at(4, 9), at(5, 1)), Standing::kBehind);
  EXPECT_EQ(standing(at(6, 1), at(5, 1)), Standing::kAhead);
  EXPECT_EQ(standing(at(5, 2), at(5, 1)), Standing::kDifferent);
  EXPECT_EQ(standing(at(1, 2), {}), Standing::kAhead);
}

TEST(Standing, AFileBringsOnOnlyThoseWhosePositionItFollows) {
  ltx::Header file;
  file.min_txid = Txid(5);
  file.max_txid = Txid(8);
  file.pre_apply = Checksum(Checksum::kFlag | 1);
  file.node_id = 7;
  EXPECT_EQ(step_for(at(4, 1), file, 9, false), Step::kSend);
  EXPECT_EQ(step_for(at(4, 2), file, 9, false), Step::kDifferent);
  EXPECT_EQ(step_for(at(4, 1), file, 7, true), Step::kSend);       // its own write comes back to it
  EXPECT_EQ(step_for(at(4, 1), file, 7, false), Step::kSnapshot);  // it would drop it, and it has not got it
  file.node_id = 0;
  EXPECT_EQ(step_for(at(4, 1), file, 0, false), Step::kSend);
}

TEST(Backoff, DoublesToItsBoundAndSpreads) {
  Backoff backoff(1000, 5000);
  EXPECT_EQ(backoff.next_ms(0), 800);
  EXPECT_EQ(backoff.next_ms(200), 1800);
  EXPECT_EQ(backoff.next_ms(1600), 4800);
  EXPECT_EQ(backoff.next_ms(1000), 5000);
  EXPECT_EQ(backoff.next_ms(2001), 4000);
  backoff.reset();
  EXPECT_EQ(backoff.next_ms(400), 1200);
}

}  // namespace
}  // namespace caddis::replica
