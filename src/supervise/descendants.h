// All descendants of this process, from /proc. Empty when /proc is not mounted.
#pragma once

#include <sys/types.h>

#include <vector>

namespace caddis::supervise {

std::vector<pid_t> living_descendants();  // without zombies

}  // namespace caddis::supervise
