// The command line's commands, from argv to exit code.
#pragma once

#include "app/build_info.h"

namespace caddis::app {

int run_program(int argc, char** argv, const BuildInfo& build);

}  // namespace caddis::app
