// POST /import: a file in caddis/tmp is copied into a database of our own mount as one SQLite transaction. It runs in a
// process of its own (this binary, hidden command `_import`): it takes SQLite's locks through the mount, which this
// process has to serve meanwhile. Loop thread, main thread.
#pragma once

#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "loop/loop.h"

namespace caddis::app {

class Importer {
 public:
  Importer(loop::Loop& loop, std::string mount_dir) : loop_(loop), mount_dir_(std::move(mount_dir)) {}
  // `source_path`: the complete file; a result file appears beside it and is removed. Errors: as sqlcheck::import_into.
  loop::Task<Status> import(std::string name, std::string source_path, std::stop_token stop);

 private:
  loop::Loop& loop_;
  const std::string mount_dir_;
};

// The helper's main: `caddis _import DATABASE SOURCE RESULT`. RESULT becomes "ok\n" or "CODE MESSAGE\n".
int run_import_helper(const std::vector<std::string>& args);

}  // namespace caddis::app
