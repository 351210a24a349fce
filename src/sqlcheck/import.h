// Copies a database file over a database of the mount as one SQLite transaction, as any client would (backup API).
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "base/result.h"

namespace caddis::sqlcheck {

struct ImportOptions {
  std::int64_t busy_timeout_ms = 5'000;  // how long to wait for the app's locks
};

// Replaces the content of `database_path` (on the mount; made when absent) by that of `source_path`.
// Runs in a process of its own: it takes SQLite locks through our mount, which the daemon must answer meanwhile.
// Errors: as inspect_source; kBusy when the app held its lock too long; kInvalid when the database is in WAL mode and
// the page sizes differ (SQLite can't change the page size of a WAL database).
Status import_into(const std::string& database_path, const std::string& source_path, const ImportOptions& options,
                   std::stop_token stop = {});

}  // namespace caddis::sqlcheck
