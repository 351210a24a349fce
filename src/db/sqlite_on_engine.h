// Test only: real SQLite on an Engine without a mount. A VFS turns SQLite's file calls into Database calls, as the FUSE
// layer does, and steps the peer inline until each is answered; locks and the wal-index are the system's, on lock files
// beside. So a test decides what happens between any two calls, and the disk below may be a FakeDisk.
#pragma once

#include <sqlite3.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "db/engine.h"
#include "os/file.h"

namespace caddis::db {

class SqliteOnEngine {
 public:
  // `data_dir` outlives it; `lock_path` is a real directory for lock files. `late`: what the engine gives to the pool
  // (syncs of the log) is done only when SQLite would wait for it for ever, as on a slow disk.
  SqliteOnEngine(std::shared_ptr<os::Dir> data_dir, std::string lock_path, bool late = false);
  ~SqliteOnEngine();
  SqliteOnEngine(const SqliteOnEngine&) = delete;
  SqliteOnEngine& operator=(const SqliteOnEngine&) = delete;

  Engine& engine() { return *engine_; }
  ManualClock& clock() { return clock_; }
  // A connection to database NAME. The caller closes it.
  sqlite3* open(const std::string& name);
  void step();  // lets the peer, and the pool, do all that is due now

  std::string& lock_path() { return lock_path_; }

 private:
  ManualClock clock_;
  std::string lock_path_;
  std::vector<std::move_only_function<void()>> pool_;
  std::unique_ptr<Engine> engine_;
  std::string vfs_name_;
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace caddis::db
