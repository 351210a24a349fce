#include "config/duration.h"

#include <gtest/gtest.h>

namespace caddis::config {
namespace {

TEST(Duration, TakesGosTexts) {
  EXPECT_EQ(parse_duration_ns("10s"), 10'000'000'000);
  EXPECT_EQ(parse_duration_ns("1m30s"), 90'000'000'000);
  EXPECT_EQ(parse_duration_ns("1.5h"), 5'400'000'000'000);
  EXPECT_EQ(parse_duration_ns(".5s"), 500'000'000);
  EXPECT_EQ(parse_duration_ns("1.s"), 1'000'000'000);
  EXPECT_EQ(parse_duration_ns("3us"), 3'000);
  EXPECT_EQ(parse_duration_ns("3\u00b5s"), 3'000);
  EXPECT_EQ(parse_duration_ns("3\u03bcs"), 3'000);
  EXPECT_EQ(parse_duration_ns("7ns"), 7);
  EXPECT_EQ(parse_duration_ns("-2m"), -120'000'000'000);
  EXPECT_EQ(parse_duration_ns("+2m"), 120'000'000'000);
  EXPECT_EQ(parse_duration_ns("0"), 0);
  EXPECT_EQ(parse_duration_ns("0s"), 0);
  EXPECT_EQ(parse_duration_ns("0.1s"), 100'000'000);
}

TEST(Duration, RefusesWhatGoRefuses) {
  for (const char* text :
       {"", "10", "s", ".s", "1 s", "1d", "10S", "-", "+", "1s1", "1..5s", "9223372036854775808ns", "99999999h"}) {
    EXPECT_FALSE(parse_duration_ns(text)) << text;
  }
}

TEST(Duration, NoPositiveDurationBecomesZeroMilliseconds) {
  EXPECT_EQ(parse_duration_ms("1ns"), 1);
  EXPECT_EQ(parse_duration_ms("-1ns"), -1);
  EXPECT_EQ(parse_duration_ms("1500us"), 2);
  EXPECT_EQ(parse_duration_ms("1s"), 1'000);
  EXPECT_EQ(parse_duration_ms("0"), 0);
}

}  // namespace
}  // namespace caddis::config
