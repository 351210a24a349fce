#include "proxy/request_time.h"

#include <gtest/gtest.h>

namespace caddis::proxy {
namespace {

TEST(RequestStart, IsReadInSecondsMillisecondsAndMicroseconds) {
  EXPECT_EQ(parse_request_start("t=1512379167.574"), 1512379167574);
  EXPECT_EQ(parse_request_start("1512379167.5"), 1512379167500);
  EXPECT_EQ(parse_request_start("1512379167.57412"), 1512379167574);
  EXPECT_EQ(parse_request_start("1512379167"), 1512379167000);
  EXPECT_EQ(parse_request_start("t=1512379167574"), 1512379167574);
  EXPECT_EQ(parse_request_start("t=1512379167574123"), 1512379167574);
  for (const char* bad : {"", "t=", "t=x", "-5", "0", "1512379167.", "1512379167.x", "1512379167574.5", "15 1",
                          "99999999999999999999999"}) {
    EXPECT_EQ(parse_request_start(bad), std::nullopt) << bad;
  }
}

TEST(FlyRequestId, BeginsWithMilliseconds) {
  EXPECT_EQ(parse_fly_request_id("01ARZ3NDEKTSV4RRFFQ69G5FAV-iad"), 1469922850259);
  EXPECT_EQ(parse_fly_request_id("01arz3ndektsv4rrffq69g5fav"), 1469922850259);
  for (const char* bad : {"", "01ARZ3NDEK", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDELTSV4RRFFQ69G5FA",
                          "0UARZ3NDEKTSV4RRFFQ69G5FAV", "-1ARZ3NDEKTSV4RRFFQ69G5FAV"}) {
    EXPECT_EQ(parse_fly_request_id(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace caddis::proxy
