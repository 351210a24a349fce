#include "fly/fly_toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace caddis::fly {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

config::FlyToml parse(std::string_view text, std::string_view group = "") {
  auto result = parse_fly_toml(text, "fly.toml", group);
  EXPECT_TRUE(result) << result.error().message();
  return result ? *result : config::FlyToml{};
}
std::string failure(std::string_view text) {
  auto result = parse_fly_toml(text, "fly.toml", "");
  EXPECT_FALSE(result) << text;
  return result ? "" : result.error().message();
}

TEST(FlyToml, TakesRegionMountAndKillTimeoutAndIgnoresTheRest) {
  config::FlyToml t = parse(R"(
app = "myapp"
primary_region = "fra"
kill_signal = "SIGINT"
kill_timeout = 120
[env]
  PORT = "8080"
[mounts]
  source = "data"
  destination = "/data"
[http_service]
  internal_port = 8080
[[something_new]]
  x = 1
)");
  EXPECT_EQ(t.primary_region, "fra");
  EXPECT_EQ(t.kill_timeout_ms, 120'000);
  EXPECT_THAT(t.mount_destinations, ElementsAre("/data"));
}

TEST(FlyToml, TheExampleOfTheRepositoryParses) {
  std::ifstream in(std::string(CADDIS_TESTDATA) + "/../../fly.toml.example");
  std::stringstream text;
  text << in.rdbuf();
  config::FlyToml t = parse(text.str(), "app");
  EXPECT_EQ(t.primary_region, "fra");
  EXPECT_EQ(t.kill_timeout_ms, 10'000);
  EXPECT_THAT(t.mount_destinations, ElementsAre("/data"));
}

TEST(FlyToml, AnEmptyOneSaysNothing) {
  config::FlyToml t = parse("");
  EXPECT_FALSE(t.primary_region);
  EXPECT_FALSE(t.kill_timeout_ms);
  EXPECT_THAT(t.mount_destinations, IsEmpty());
}

TEST(FlyToml, KillTimeoutIsSecondsOrADuration) {
  EXPECT_EQ(parse("kill_timeout = 5").kill_timeout_ms, 5'000);
  EXPECT_EQ(parse("kill_timeout = \"3s\"").kill_timeout_ms, 3'000);
  EXPECT_EQ(parse("kill_timeout = \"2m\"").kill_timeout_ms, 120'000);
  EXPECT_EQ(failure("x = 1\nkill_timeout = \"5\""),
            "fly.toml:2: kill_timeout: must be whole seconds or a duration, write 5 or \"5s\"");
  failure("kill_timeout = -1");
  failure("kill_timeout = true");
}

TEST(FlyToml, MountsMayBeAListAndBelongToProcessGroups) {
  const char* text = R"(
[processes]
  app = "serve"
  worker = "work"
[[mounts]]
  source = "a"
  destination = "/app-data"
  processes = ["app"]
[[mounts]]
  source = "b"
  destination = "/worker-data"
  processes = ["worker", "cron"]
)";
  EXPECT_THAT(parse(text, "app").mount_destinations, ElementsAre("/app-data"));
  EXPECT_THAT(parse(text, "").mount_destinations, ElementsAre("/app-data"));
  EXPECT_THAT(parse(text, "cron").mount_destinations, ElementsAre("/worker-data"));
  EXPECT_THAT(parse(text, "other").mount_destinations, IsEmpty());
}

TEST(FlyToml, AMountWithoutProcessesBelongsToTheDefaultGroup) {
  const char* text = "[processes]\nweb = 'a'\nbackground = 'b'\n[mounts]\ndestination = '/data'\n";
  EXPECT_THAT(parse(text, "background").mount_destinations, ElementsAre("/data"));
  EXPECT_THAT(parse(text, "").mount_destinations, ElementsAre("/data"));
  EXPECT_THAT(parse(text, "web").mount_destinations, IsEmpty());
  EXPECT_THAT(parse("[mounts]\ndestination = '/data'\n", "app").mount_destinations, ElementsAre("/data"));
}

TEST(FlyToml, ErrorsNameFileLineAndCure) {
  EXPECT_EQ(failure("[mounts]\nsource = 'x'\n"),
            "fly.toml:1: mounts.destination: missing, write destination = \"/data\"");
  EXPECT_EQ(failure("[mounts]\ndestination = '/'\n"),
            "fly.toml:2: mounts.destination: must be an absolute path other than /, write \"/data\"");
  EXPECT_EQ(failure("primary_region = 7"),
            "fly.toml:1: primary_region: must be a text, write a region such as \"fra\"");
  EXPECT_EQ(failure("mounts = 7"), "fly.toml:1: mounts: must be a table or a list of tables, write [mounts]");
  EXPECT_THAT(failure("a = 1\nb = = 2\n"), testing::StartsWith("fly.toml:2: not TOML: "));
}

}  // namespace
}  // namespace caddis::fly
