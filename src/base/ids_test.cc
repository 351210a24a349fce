#include "base/ids.h"

#include <gtest/gtest.h>

namespace caddis {
namespace {

TEST(Ids, PositionTextIsHexSlashHex) {
  EXPECT_EQ(to_text(Position{Txid(1), Checksum(0xf630f5ae3060002c)}), "0000000000000001/f630f5ae3060002c");
}

TEST(Ids, ParseHexTakesExactlySixteenLowerCaseDigits) {
  EXPECT_EQ(*parse_hex16("000000000000001f"), 31u);
  EXPECT_FALSE(parse_hex16("1f"));
  EXPECT_FALSE(parse_hex16("000000000000001F"));
  EXPECT_FALSE(parse_hex16("00000000000000010"));
}

TEST(Ids, LockPageFollowsThePageSize) {
  EXPECT_EQ(lock_pgno(4096).value(), 262145u);
  EXPECT_EQ(lock_pgno(512).value(), 2097153u);
  EXPECT_EQ(lock_pgno(65536).value(), 16385u);
}

}  // namespace
}  // namespace caddis
