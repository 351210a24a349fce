// `caddis mount`: configuration, warnings, and the Daemon. Main thread; returns the exit code.
#pragma once

#include <string>

#include "app/cli.h"
#include "app/daemon.h"

namespace caddis::app {

// `banner`: the first log line (version_text of the program's name).
int run_mount(const MountCommand& command, const BuildInfo& build, const std::string& banner);

// True for the name of a shell that may stand between init and us without handing signals on ("sh", "dash", …).
bool is_shell_name(std::string_view name);

}  // namespace caddis::app
