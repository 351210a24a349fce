#include <gtest/gtest.h>

#include "lease/leaser.h"
#include "loop/loop.h"

namespace caddis::lease {
namespace {

TEST(StaticLeaser, ACandidateIsPrimaryAtOnceAndUntilReleased) {
  loop::Loop loop;
  RoleBoard board;
  auto leaser = make_static_leaser(true, {"host", "http://host:20202"});
  ASSERT_TRUE(loop::run_until_done(loop, leaser->join(board, {})));
  EXPECT_TRUE(board.is_primary());
  EXPECT_EQ(board.role().primary_hostname, "host");
  ASSERT_TRUE(loop::run_until_done(loop, leaser->release(board, {})));
  EXPECT_FALSE(board.is_primary());
}

TEST(StaticLeaser, AnotherNodeIsAReplicaOfTheConfiguredPrimary) {
  loop::Loop loop;
  RoleBoard board;
  auto leaser = make_static_leaser(false, {"primary-host", "http://primary-host:20202"});
  ASSERT_TRUE(loop::run_until_done(loop, leaser->join(board, {})));
  EXPECT_FALSE(board.is_primary());
  EXPECT_EQ(board.role().primary_hostname, "primary-host");
  EXPECT_EQ(board.role().primary_url, "http://primary-host:20202");
}

}  // namespace
}  // namespace caddis::lease
