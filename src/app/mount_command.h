// `caddis mount`: configuration, warnings, and the Daemon. Main thread; returns the exit code.
#pragma once

#include <string>
#include <string_view>

#include "app/cli.h"
#include "app/daemon.h"

namespace caddis::app {

// `banner`: the first log line (version_text of the program's name).
int run_mount(const MountCommand& command, const BuildInfo& build, const std::string& banner);

// True for the /proc/PID/cmdline of a shell that runs one command for somebody ("sh\0-c\0…").
bool is_shell_command(std::string_view cmdline);

}  // namespace caddis::app
