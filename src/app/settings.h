// What `caddis mount` runs with: looks at the machine (environment, files, mounts) and lets src/config decide.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/cli.h"
#include "config/load.h"
#include "config/resolve.h"
#include "os/user.h"

namespace caddis::app {

struct Settings {
  config::Config config;
  config::Resolution resolution;
  config::Environment env;          // with HOSTNAME and PRIMARY_REGION
  std::optional<os::User> user;     // of `user:`, for the app, exec entries and the mount
  std::vector<std::string> errors;  // exit code 2, one line each
  std::vector<std::string> warnings;
  std::vector<std::string> notes;
};

// environ as a map; HOSTNAME is set (also for children) when it is empty, as LiteFS does. Main thread, before others.
config::Environment read_environment();
// Reads files, never writes. Cheap: no network, no database.
Settings load_settings(const MountCommand& command, config::Environment env);

// /proc/self/mounts: "DEVICE DIR TYPE …", octal escapes resolved.
std::vector<config::MountPoint> parse_mounts(const std::string& text);
// A whole small file (a config file, a secret, a line of /proc); its size is at most 1 MiB.
Result<std::string> read_text_file(const std::string& path);

}  // namespace caddis::app
