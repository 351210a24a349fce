// What a file leaves open, decided from the environment, fly.toml and the mount points ("nothing configured").
// Pure: the caller looks at the machine and passes what it saw. Precedence: flag > environment > file > fly.toml >
// default.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/load.h"

namespace caddis::config {

// The part of fly.toml that is read, of this process group; filled by fly/fly_toml.h.
struct FlyToml {
  std::optional<std::string> primary_region;
  std::vector<std::string> mount_destinations;  // of this process group
  std::optional<std::int64_t> kill_timeout_ms;
};

struct MountPoint {  // one line of /proc/self/mounts
  std::string mount_point;
  std::string device;  // "/dev/vdb"
  std::string fs_type;
};

struct ResolveInput {
  Environment env;
  std::optional<FlyToml> fly_toml;
  std::vector<MountPoint> mounts;
  std::function<bool(const std::string& path)> is_directory;    // asked for mount points, V/dbs and V/litefs/dbs
  std::function<bool(const std::string& path)> on_root_device;  // st_dev of path or its nearest parent is that of /
};

// Rule 6: release_command, console and test machines run their command and touch nothing.
// True for RELEASE_COMMAND=1, FLY_TEST_COMMAND=1, FLY_PROCESS_GROUP beginning "fly_app_".
bool is_special_machine(const Environment& env);
// FLY_APP_NAME is non-empty.
bool is_on_fly(const Environment& env);
// env with PRIMARY_REGION from fly.toml where the environment has none: what load() is given.
Environment with_fly_toml(Environment env, const std::optional<FlyToml>& fly_toml);

struct Resolution {
  bool on_fly = false;
  bool special_machine = false;
  std::string volume;                // the volume's mount point V; empty: none, several, or not looked for
  bool data_on_root_device = false;  // nothing there survives a deploy; a warning says so
};

// Completes result.config in place: directories, candidate, backup targets and their keys, stop timeout, secret,
// log level; appends to result.errors, warnings and notes.
Resolution resolve(LoadResult& result, const ResolveInput& input);

}  // namespace caddis::config
