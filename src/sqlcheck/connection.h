// RAII over sqlite3*; only for the files of this module.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

#include "base/result.h"

namespace caddis::sqlcheck {

struct CloseConnection {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Connection = std::unique_ptr<sqlite3, CloseConnection>;

struct FinalizeStatement {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// SQLite's result code as ours.
Error sqlite_error(sqlite3* db, int code, const std::string& intention);
// Opens `path` as it is (no URI in it is read); query: "immutable=1" or "".
Result<Connection> open_connection(const std::string& path, int flags, const std::string& query);

}  // namespace caddis::sqlcheck
