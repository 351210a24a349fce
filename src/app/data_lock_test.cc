#include "app/data_lock.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace caddis::app {
namespace {

struct DataLockTest : testing::Test {
  DataLockTest() {
    char name[] = "/tmp/caddis-lock-XXXXXX";
    dir = mkdtemp(name);
  }
  ~DataLockTest() override { std::filesystem::remove_all(dir); }
  std::string dir;
};

TEST_F(DataLockTest, IsHeldByOneAndNamesTheHolder) {
  Result<DataLock> first = DataLock::acquire(dir, 0);
  ASSERT_TRUE(first);
  Result<DataLock> second = DataLock::acquire(dir, 0);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kBusy);
  EXPECT_NE(second.error().message().find(std::to_string(getpid())), std::string::npos) << second.error().message();
}

TEST_F(DataLockTest, IsFreeAgainWhenItsHolderIsGone) {
  { ASSERT_TRUE(DataLock::acquire(dir, 0)); }
  EXPECT_TRUE(DataLock::acquire(dir, 0));
}

TEST_F(DataLockTest, SaysWhatTheDiskSays) {
  Result<DataLock> lock = DataLock::acquire("/proc/nonexistent", 0);
  ASSERT_FALSE(lock);
  EXPECT_NE(lock.error().message().find("/proc/nonexistent/caddis"), std::string::npos);
}

}  // namespace
}  // namespace caddis::app
