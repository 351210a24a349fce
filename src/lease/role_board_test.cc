#include "lease/role_board.h"

#include <gtest/gtest.h>

namespace caddis::lease {
namespace {

TEST(RoleBoard, ListenersHearChangesAndOnlyChanges) {
  RoleBoard board;
  std::vector<Role> heard;
  board.on_change([&](const Role& r) {
    EXPECT_EQ(board.role(), r);
    heard.push_back(r);
  });
  board.set({});
  EXPECT_TRUE(heard.empty());
  board.set({.primary = true, .primary_hostname = "a", .primary_url = {}, .epoch = 1});
  board.set({.primary = true, .primary_hostname = "a", .primary_url = {}, .epoch = 1});
  board.set({});
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_TRUE(heard[0].primary);
  EXPECT_FALSE(heard[1].primary);
}

}  // namespace
}  // namespace caddis::lease
