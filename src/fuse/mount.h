// The mount: the public face of src/fuse. Names to files, roles to errnos; knows nothing of transactions.
//
// Threads of its own: FUSE workers (answer requests, never wait for another thread) and the attacher (opens files of
// the own mount for the peer). Replies to parked requests come from the peer thread, which must therefore run while
// this starts, serves and stops.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "db/engine.h"
#include "fuse/stale_mount.h"

namespace caddis::fuse {

struct MountOptions {
  std::string dir;
  bool allow_other = false;
  // Files 0660, directory 0770, owned by uid:gid and enforced by the kernel (with `user:`). Otherwise 0666 and 0777.
  bool default_permissions = false;
  uid_t uid = 0;
  gid_t gid = 0;
  bool clean_stale = true;  // take away FUSE mounts that a killed predecessor left at dir (-skip-unmount: false)
  bool wal_direct = true;   // -wal past the page cache: 2 WRITEs a frame, not 3; readers' pages of the WAL are requests
  bool debug = false;       // libfuse prints every message
  int threads = 4;
};

// What .primary and .lag say. Called on FUSE workers: must return at once.
struct RoleInfo {
  std::function<std::optional<std::string>()> primary_hostname;  // none: there is no .primary. Empty function: none
  std::function<std::int64_t()> lag_ms;                          // empty function: 0
};

class Mount {
 public:
  // Cleans up, makes the directory when absent, mounts, and attaches the databases the engine has. Logs a warning that
  // names files hidden by the mount.
  static Result<std::unique_ptr<Mount>> start(const MountOptions& options, db::Engine& engine, RoleInfo roles,
                                              Metrics& metrics);
  ~Mount();  // stop()

  // Takes the views back from the peer and unmounts. Bounded (about 3 s) as long as the peer runs. Afterwards no file
  // operation reaches the engine. Not from a FUSE worker or the peer.
  void stop();

  std::string_view mode() const;  // "reference": for the one log line and caddis_mount_mode
  const std::string& dir() const;
  const std::vector<std::string>& hidden_files() const;  // names in the directory below the mount
  db::KernelCache& kernel_cache();                       // any thread but FUSE workers; returns before it is done
  // After set_writable or a change of primary: modes and .primary are looked up anew.
  void role_changed();

 private:
  struct Impl;
  explicit Mount(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace caddis::fuse
