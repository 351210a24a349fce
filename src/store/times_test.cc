#include "store/times.h"

#include <gtest/gtest.h>

namespace caddis::store {
namespace {

TEST(Times, Rfc3339NanoHasNoTrailingZeros) {
  EXPECT_EQ(rfc3339_nano(1'795'309'848'680), "2026-11-22T01:10:48.68Z");
  EXPECT_EQ(rfc3339_nano(1'795'309'848'000), "2026-11-22T01:10:48Z");
  EXPECT_EQ(rfc3339_nano(1'795'309'848'005), "2026-11-22T01:10:48.005Z");
  EXPECT_EQ(rfc3339_nano(-1), "1969-12-31T23:59:59.999Z");
}

TEST(Times, Rfc3339IsReadWithFractionsAndZones) {
  EXPECT_EQ(parse_rfc3339("2026-11-22T01:10:48.68Z"), 1'795'309'848'680);
  EXPECT_EQ(parse_rfc3339("2026-11-22T01:10:48Z"), 1'795'309'848'000);
  EXPECT_EQ(parse_rfc3339("2026-11-22T01:10:48.000999999Z"), 1'795'309'848'000);
  EXPECT_EQ(parse_rfc3339("2026-11-22T02:10:48+01:00"), 1'795'309'848'000);
  for (const char* bad :
       {"", "2026-11-22", "2026-13-22T01:10:48Z", "2026-02-30T01:10:48Z", "2026-11-22T25:10:48Z",
        "2026-11-22T01:10:48.Z", "2026-11-22T01:10:48", "2026-11-22T01:10:48.5", "x026-11-22T01:10:48Z"})
    EXPECT_FALSE(parse_rfc3339(bad)) << bad;
}

TEST(Times, HttpDatesAreRead) {
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784'111'777'000);
  for (const char* bad : {"", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Foo 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"})
    EXPECT_FALSE(parse_http_date(bad)) << bad;
}

TEST(Times, AmzDateIsBasicIso8601) { EXPECT_EQ(amz_date(1'369'353'600'999), "20130524T000000Z"); }

}  // namespace
}  // namespace caddis::store
