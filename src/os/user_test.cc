#include "os/user.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace caddis::os {
namespace {

class FindUser : public testing::Test {
 protected:
  FindUser() {
    std::string pattern = std::filesystem::temp_directory_path() / "caddis-user-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    std::ofstream(passwd()) << "# users\nroot:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www:/var/www:/bin/false\n"
                               "nohome:x:44:45:::\nbroken\nbad:x:minus:1::/:\n12:x:77:78::/odd:\n";
    std::ofstream(group()) << "root:x:0:\nwww-data:x:33:\nssl-cert:x:110:postgres,www-data\nvideo:x:44:www-data\n"
                              "notme:x:99:www-data2\n";
  }
  ~FindUser() override { std::filesystem::remove_all(dir_); }
  std::string passwd() const { return dir_ + "/passwd"; }
  std::string group() const { return dir_ + "/group"; }
  Result<User> find(std::string_view spec) const { return find_user(spec, passwd(), group()); }
  std::string dir_;
};

TEST_F(FindUser, ANameGivesItsIdsHomeAndSupplementaryGroups) {
  User user = find("www-data").value();
  EXPECT_EQ(user.uid, 33u);
  EXPECT_EQ(user.gid, 33u);
  EXPECT_EQ(user.home, "/var/www");
  EXPECT_EQ(user.groups, (std::vector<gid_t>{33, 110, 44}));
}

TEST_F(FindUser, ANumberIsLookedUpLikeItsName) {
  EXPECT_EQ(find("33").value().groups, (std::vector<gid_t>{33, 110, 44}));
  EXPECT_EQ(find("44").value().home, "/");
  EXPECT_EQ(find("12").value().uid, 77u);  // a user may be called 12
}

TEST_F(FindUser, AGroupGivenIsTheOnlyOne) {
  EXPECT_EQ(find("www-data:video").value().groups, std::vector<gid_t>{44});
  EXPECT_EQ(find("www-data:1234").value().gid, 1234u);
  User stranger = find("5000:6000").value();
  EXPECT_EQ(stranger.uid, 5000u);
  EXPECT_EQ(stranger.groups, std::vector<gid_t>{6000});
  EXPECT_EQ(stranger.home, "/");
}

TEST_F(FindUser, WhatNobodyKnowsIsInvalidAndNamed) {
  for (const char* spec : {"nobody-here", "5000", "www-data:none", "bad", "", ":", ":video", "-1", "4294967295:1"}) {
    Result<User> user = find(spec);
    ASSERT_FALSE(user) << spec;
    EXPECT_EQ(user.error().code(), ErrorCode::kInvalid) << spec;
  }
  EXPECT_NE(find("nobody-here").error().message().find("nobody-here"), std::string::npos);
  EXPECT_NE(find("5000").error().message().find("5000:GID"), std::string::npos);
}

TEST_F(FindUser, WorksWithoutTheFilesForNumbers) {
  EXPECT_EQ(find_user("1:2", dir_ + "/none", dir_ + "/none").value().gid, 2u);
  EXPECT_FALSE(find_user("root", dir_ + "/none", dir_ + "/none"));
}

}  // namespace
}  // namespace caddis::os
