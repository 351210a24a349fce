#include "sqlcheck/import.h"

#include <chrono>
#include <thread>

#include "sqlcheck/connection.h"
#include "sqlcheck/integrity.h"

namespace caddis::sqlcheck {
namespace {

constexpr int kPagesPerStep = 1000;  // between two looks at the stop token

struct FinishBackup {
  void operator()(sqlite3_backup* b) const { sqlite3_backup_finish(b); }
};
using Backup = std::unique_ptr<sqlite3_backup, FinishBackup>;

// Steps until done. The destination stays in one write transaction over all steps: readers see all of it or nothing.
Status copy_all(Backup& backup, sqlite3* to, const std::string& intention, const ImportOptions& options,
                std::stop_token stop) {
  using Steady = std::chrono::steady_clock;
  auto deadline = Steady::now() + std::chrono::milliseconds(options.busy_timeout_ms);
  for (;;) {
    if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "{}: stopped", intention);
    int rc = sqlite3_backup_step(backup.get(), kPagesPerStep);
    if (rc == SQLITE_DONE) break;
    if (rc == SQLITE_OK) continue;
    if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED) {
      if (Steady::now() >= deadline)
        return make_error(ErrorCode::kBusy,
                          "{}: the database stayed locked for {} ms; end the app's long transaction and try again",
                          intention, options.busy_timeout_ms);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    if (rc == SQLITE_READONLY)
      return invalid(
          "{}: the database is in WAL mode and has another page size than the source; run VACUUM on the source with "
          "the same PRAGMA page_size, or delete the database first",
          intention);
    return std::unexpected(sqlite_error(to, rc, intention));
  }
  int rc = sqlite3_backup_finish(backup.release());
  if (rc != SQLITE_OK) return std::unexpected(sqlite_error(to, rc, intention));
  return {};
}

}  // namespace

Status import_into(const std::string& database_path, const std::string& source_path, const ImportOptions& options,
                   std::stop_token stop) {
  std::string intention = fmt::format("import {} into {}", source_path, database_path);
  if (auto info = inspect_source(source_path); !info)
    return std::unexpected(std::move(info).error().context(intention));
  TRY_ASSIGN(Connection from, open_connection(source_path, SQLITE_OPEN_READONLY, ""));
  TRY_ASSIGN(Connection to, open_connection(database_path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, ""));
  // SQLite's own waiting covers the destination's locks inside one step; copy_all covers the rest.
  sqlite3_busy_timeout(to.get(), static_cast<int>(options.busy_timeout_ms));
  sqlite3_busy_timeout(from.get(), static_cast<int>(options.busy_timeout_ms));
  Backup backup(sqlite3_backup_init(to.get(), "main", from.get(), "main"));
  if (backup == nullptr) return std::unexpected(sqlite_error(to.get(), sqlite3_errcode(to.get()), intention));
  return copy_all(backup, to.get(), intention, options, stop);
}

}  // namespace caddis::sqlcheck
