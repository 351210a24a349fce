#include "fly/environment.h"

#include <gtest/gtest.h>

namespace caddis::fly {
namespace {

TEST(Environment, EmptyMeansNotOnFly) {
  Environment e = read_environment({});
  EXPECT_FALSE(e.on_fly());
  EXPECT_EQ(e.machine_id, "");
  EXPECT_FALSE(e.vm_memory_mb);
}

TEST(Environment, ReadsWhatFlySets) {
  Environment e = read_environment({{"FLY_APP_NAME", "myapp"},
                                    {"FLY_MACHINE_ID", "91851e13e45d68"},
                                    {"FLY_ALLOC_ID", "old"},
                                    {"FLY_REGION", "fra"},
                                    {"PRIMARY_REGION", "ord"},
                                    {"FLY_PRIVATE_IP", "fdaa::3"},
                                    {"FLY_PROCESS_GROUP", "app"},
                                    {"FLY_VM_MEMORY_MB", "512"}});
  EXPECT_TRUE(e.on_fly());
  EXPECT_EQ(e.machine_id, "91851e13e45d68");
  EXPECT_EQ(e.region, "fra");
  EXPECT_EQ(e.primary_region, "ord");
  EXPECT_EQ(e.private_ip, "fdaa::3");
  EXPECT_EQ(e.process_group, "app");
  EXPECT_EQ(e.vm_memory_mb, 512);
}

TEST(Environment, TheOlderMachineVariableStillWorksAndBadNumbersAreUnset) {
  Environment e = read_environment({{"FLY_ALLOC_ID", "abc"}, {"FLY_VM_MEMORY_MB", "512MB"}});
  EXPECT_EQ(e.machine_id, "abc");
  EXPECT_FALSE(e.vm_memory_mb);
}

}  // namespace
}  // namespace caddis::fly
