#include "app/listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::app {
namespace {

using testing::ElementsAre;

std::vector<ListenHost> hosts_of(const ListenRules& rules) { return plan_listen(rules)->hosts; }

TEST(PlanListen, AGivenAddressIsBoundExactly) {
  EXPECT_THAT(hosts_of({.addr = ":20202", .addr_given = true, .on_fly = true}), ElementsAre(ListenHost{"", false}));
  EXPECT_THAT(hosts_of({.addr = "10.0.0.1:80", .addr_given = true}), ElementsAre(ListenHost{"10.0.0.1", false}));
  EXPECT_EQ(plan_listen({.addr = "[::1]:81", .addr_given = true})->port, 81);
}

TEST(PlanListen, WithoutOneItIsLoopbackOnly) {
  EXPECT_THAT(hosts_of({.addr = ":20202"}), ElementsAre(ListenHost{"127.0.0.1", false}, ListenHost{"::1", true}));
}

TEST(PlanListen, OnFlyThePrivateAddressIsAddedAndNeverAllOthers) {
  for (bool written : {false, true}) {
    EXPECT_THAT(hosts_of({.addr = ":20202", .on_fly = true, .lease_type_written = written}),
                ElementsAre(ListenHost{"127.0.0.1", false}, ListenHost{"::1", true}, ListenHost{"fly-local-6pn", true}));
  }
}

TEST(PlanListen, AWrittenClusterLeaseOffFlyBindsAllAddressesAsLiteFs) {
  EXPECT_THAT(hosts_of({.addr = ":20202", .lease_type_written = true}), ElementsAre(ListenHost{"", false}));
}

TEST(PlanListen, NonsenseIsRefused) { EXPECT_FALSE(plan_listen({.addr = "nonsense", .addr_given = true})); }

}  // namespace
}  // namespace caddis::app
