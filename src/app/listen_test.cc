#include "app/listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::app {
namespace {

using testing::ElementsAre;

// The addresses as text, optional ones with a question mark.
std::vector<std::string> plan(const ListenRules& rules) {
  std::vector<std::string> texts;
  for (const api::ListenAddress& a : *plan_listen(rules)) texts.push_back(a.text + (a.optional ? "?" : ""));
  return texts;
}

TEST(PlanListen, AGivenAddressIsBoundExactly) {
  EXPECT_THAT(plan({.addr = ":20202", .addr_given = true, .on_fly = true}), ElementsAre(":20202"));
  EXPECT_THAT(plan({.addr = "10.0.0.1:80", .addr_given = true}), ElementsAre("10.0.0.1:80"));
}

TEST(PlanListen, WithoutOneItIsLoopbackOnly) {
  EXPECT_THAT(plan({.addr = ":20202"}), ElementsAre("127.0.0.1:20202", "[::1]:20202?"));
}

TEST(PlanListen, OnFlyThePrivateAddressIsAddedAndNeverAllOthers) {
  for (bool written : {false, true}) {
    EXPECT_THAT(plan({.addr = ":20202", .on_fly = true, .lease_type_written = written}),
                ElementsAre("127.0.0.1:20202", "[::1]:20202?", "fly-local-6pn:20202?"));
  }
}

TEST(PlanListen, AWrittenClusterLeaseOffFlyBindsAllAddressesAsLiteFs) {
  EXPECT_THAT(plan({.addr = ":20202", .lease_type_written = true}), ElementsAre(":20202"));
}

TEST(PlanListen, NonsenseIsRefused) { EXPECT_FALSE(plan_listen({.addr = "nonsense", .addr_given = true})); }

}  // namespace
}  // namespace caddis::app
