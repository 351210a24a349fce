#pragma once
#include "app/cli.h"
namespace caddis::app {
inline int run_restore(const RestoreCommand&) { return 1; }
}
