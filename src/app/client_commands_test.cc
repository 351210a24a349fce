#include "app/client_commands.h"

#include <gtest/gtest.h>

namespace caddis::app {
namespace {

TEST(NodeBaseUrl, DropsThePathAndKeepsHostAndPort) {
  EXPECT_EQ(*node_base_url("http://localhost:20202"), "http://localhost:20202");
  EXPECT_EQ(*node_base_url("http://[::1]:20202/some/path?x=1"), "http://[::1]:20202");
  EXPECT_EQ(*node_base_url("https://node:1"), "http://node:1");  // as LiteFS, plain TCP all the same
}

TEST(NodeBaseUrl, RefusesWhatIsNone) {
  EXPECT_TRUE(node_base_url("ftp://x").error().message().starts_with("invalid URL scheme"));
  EXPECT_TRUE(node_base_url("localhost:20202").error().message().starts_with("invalid URL scheme"));
  EXPECT_TRUE(node_base_url("http:///x").error().message().starts_with("URL host required"));
}

TEST(GoDurationText, IsWrittenAsGoDoes) {
  EXPECT_EQ(go_duration_text(0), "0s");
  EXPECT_EQ(go_duration_text(15), "15ns");
  EXPECT_EQ(go_duration_text(1'500), "1.5µs");
  EXPECT_EQ(go_duration_text(1'234'567), "1.234567ms");
  EXPECT_EQ(go_duration_text(20'000'000), "20ms");
  EXPECT_EQ(go_duration_text(2'500'000'000), "2.5s");
  EXPECT_EQ(go_duration_text(60'500'000'000), "1m0.5s");
  EXPECT_EQ(go_duration_text(3'661'000'000'000), "1h1m1s");
}

}  // namespace
}  // namespace caddis::app
