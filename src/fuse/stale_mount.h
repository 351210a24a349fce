// Mounts left behind by a killed predecessor, and who still uses a mount. Nothing here touches a file below the mount
// directory: a dead or hung FUSE connection would hang the caller.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace caddis::fuse {

struct MountEntry {
  std::string dir;            // mount point, unescaped
  std::string type;           // "fuse.caddis"
  std::string source;         // "caddis", "litefs"
  unsigned device_minor = 0;  // number of the FUSE connection
};

// Parses /proc/self/mountinfo's text; lines it does not understand are left out. In mount order: the last one is on
// top.
std::vector<MountEntry> parse_mountinfo(std::string_view text);
// Mounts at exactly this directory, as the kernel names it.
std::vector<MountEntry> mounts_at(const std::string& dir);
// Absolute path of `dir` with the links of its parents resolved; the last component is not touched.
std::string canonical_mount_dir(const std::string& dir);

// Aborts and detaches every FUSE mount at `dir`, top first. Returns how many there were. Mounts of other types stay.
Result<int> clean_stale_mounts(const std::string& dir);
// Ends a connection as writing to /sys/fs/fuse/connections/MINOR/abort does; works without fusectl being mounted.
bool abort_connection(unsigned device_minor);

// Processes other than this one with an open file, mapping or working directory below `dir`, ascending. By path, as
// /proc shows it, so it works for a dead mount too; a process in another mount namespace counts if its path is the
// same.
std::vector<pid_t> processes_using(const std::string& dir);

}  // namespace caddis::fuse
