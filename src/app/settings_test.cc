#include "app/settings.h"

#include <gtest/gtest.h>

namespace caddis::app {
namespace {

TEST(ParseMounts, SplitsFieldsAndResolvesOctalEscapes) {
  auto mounts = parse_mounts("/dev/vdb /my\\040data ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].mount_point, "/my data");
  EXPECT_EQ(mounts[0].device, "/dev/vdb");
  EXPECT_EQ(mounts[0].fs_type, "ext4");
  EXPECT_EQ(mounts[1].mount_point, "/proc");
}

TEST(ParseMounts, LeavesOutLinesThatAreNone) {
  EXPECT_TRUE(parse_mounts("").empty());
  EXPECT_TRUE(parse_mounts("\n\nabc\na b\n").empty());
}

TEST(ReadTextFile, NamesTheFileThatIsMissing) {
  Result<std::string> r = read_text_file("/nonexistent/litefs.yml");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(r.error().message().find("/nonexistent/litefs.yml"), std::string::npos);
}

TEST(ReadTextFile, RefusesWhatHasNoEnd) { EXPECT_FALSE(read_text_file("/dev/zero")); }

TEST(LoadSettings, AConfigFileThatIsMissingIsAnError) {
  MountCommand command;
  command.config_path = "/nonexistent/litefs.yml";
  Settings settings = load_settings(command, {});
  ASSERT_EQ(settings.errors.size(), 1u);
}

}  // namespace
}  // namespace caddis::app
