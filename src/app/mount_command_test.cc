#include "app/mount_command.h"

#include <gtest/gtest.h>

namespace caddis::app {
namespace {

using namespace std::string_view_literals;

TEST(IsShellCommand, KnowsTheShellFormOfAnEntrypoint) {
  EXPECT_TRUE(is_shell_command("/bin/sh\0-c\0caddis mount\0"sv));
  EXPECT_TRUE(is_shell_command("bash\0-c\0caddis mount\0"sv));
}

TEST(IsShellCommand, LeavesScriptsAndOthersAlone) {
  EXPECT_FALSE(is_shell_command("/bin/sh\0/entrypoint.sh\0"sv));
  EXPECT_FALSE(is_shell_command("-bash\0"sv));
  EXPECT_FALSE(is_shell_command("python3\0-c\0x\0"sv));
  EXPECT_FALSE(is_shell_command(""sv));
}

}  // namespace
}  // namespace caddis::app
