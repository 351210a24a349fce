// The three things caddis takes from a fly.toml that an image happens to hold: primary_region, the mounts of this
// process group, kill_timeout. Everything else in it is ignored, known or not.
#pragma once

#include <string_view>

#include "base/result.h"
#include "config/resolve.h"

namespace caddis::fly {

// name: the path for error texts. process_group: FLY_PROCESS_GROUP; empty: the default group (app, else the first).
// As flyctl: a mount without `processes` belongs to the default group only. [mounts] may be a table or an array of
// tables, kill_timeout whole seconds or a duration ("3s").
// Errors: kInvalid, "FILE:LINE: key: what, cure", the first one found.
Result<config::FlyToml> parse_fly_toml(std::string_view text, std::string_view name, std::string_view process_group);

}  // namespace caddis::fly
