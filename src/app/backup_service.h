// All backup targets of this node: restore at boot, uploads while it runs, the last one at the stop. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/documents.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "config/config.h"
#include "db/engine.h"
#include "loop/loop.h"
#include "os/file.h"

namespace caddis::app {

class BackupService {
 public:
  // Opens nothing on the network yet. kInvalid for a target that can't be used (exit code 2).
  static Result<std::unique_ptr<BackupService>> create(loop::Loop& loop, Clock& clock, Metrics& metrics,
                                                       const config::Config& config);
  ~BackupService();

  bool has_targets() const;
  // An earlier restore was cut off while it put databases in place.
  bool is_restore_pending(os::Dir& data_dir) const;
  // An empty volume: brings every database of the targets back through engine.install_restored. Errors as
  // backup::boot_restore (kUnavailable: no target answered).
  loop::Task<Status> restore(os::Dir& data_dir, db::Engine& engine, std::stop_token stop);
  // Uploads from now on. The engine is open, its peer does not run yet.
  Status start(os::Dir& data_dir, db::Engine& engine);
  // Only the primary uploads: from the first `true` on.
  void set_primary(bool primary);
  // Everything durable in the log is uploaded, or kTimeout names what is not. Afterwards nothing is uploaded any more.
  loop::Task<Status> flush_and_stop(std::int64_t deadline_ms);
  std::vector<api::BackupFacts> facts() const;

 private:
  struct Impl;
  explicit BackupService(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace caddis::app
