// config::BackupTarget to backup::Target.
#pragma once

#include <memory>
#include <string>

#include "backup/target.h"
#include "base/metrics.h"
#include "config/config.h"
#include "config/load.h"
#include "loop/loop.h"

namespace caddis::app {

// Asks nobody yet; blocking (reads key files). Errors: kInvalid, kDenied, naming the target's place in the
// configuration. `metrics` may be null.
Result<std::unique_ptr<backup::Target>> open_backup_target(loop::Loop& loop, Metrics* metrics,
                                                           const config::BackupTarget& target);

// A target that only its URL names (a command line): keys, endpoint and region from the environment.
config::BackupTarget target_of_url(std::string url, const config::Environment& env);

}  // namespace caddis::app
