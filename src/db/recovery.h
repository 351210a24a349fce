// Boot and clean stop of one database, before the mount exists and after it is gone. Nobody else has the files open.
//
// What boot starts from                      what it does
//   side file with identity, nothing changed   nothing: the position is known (the clean case, constant time)
//   side file at S, log S+1 … T                journal rolled back, pages of the log rewritten (the log is the redo
//   log) WAL whose valid chain goes on behind T     its transactions are captured, then it is copied into the database
//   WAL of an older generation, or shorter     dropped: the log has all of it
//   no side file, log (a LiteFS volume)        every page read once; the last LTX applied again, its checksum compared
//   database without log                       adopted as TXID 1
//   bytes that are no database                 set aside under caddis/lost/
//   database file cut short or damaged         its pages are taken from the log; what the log lacks is an error
// Whatever then differs from the recorded checksums becomes one more transaction; nothing is dropped to make it fit.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "db/capture.h"
#include "db/database.h"
#include "db/log.h"

namespace caddis::db {

class Recovery {
 public:
  explicit Recovery(Database& db) : db_(db), capture_(*db.capture_) {}
  Status boot();
  Status close();
  // dbs/NAME from a restored file: see Engine::install_restored.
  Status install(os::Dir& from, const std::string& file_name, Position position);

 private:
  Status open_files();
  Status take_in_log_ends();
  Status resolve_journal();
  Result<bool> journal_is_committed(os::File& journal);
  Status roll_back(os::File& journal);
  Result<std::vector<std::uint32_t>> free_leaves();
  Status boot_known(SavedSums saved);
  Status boot_unknown();
  Status redo(const std::vector<LogEntry>& chain);
  Result<bool> redo_one(const LogEntry& entry);
  Status take_wal();
  Result<std::optional<std::uint32_t>> frames_in_log(const WalTail& start);
  Status backfill();
  Status remove_wal();
  Status compute_sums();
  Status verify_all(std::string_view reason);
  Result<bool> is_damaged();
  Status repair_from_log();
  Status set_aside(std::string_view reason);
  Status save(bool with_identity);
  Result<SavedSums::Identity> identity();
  Result<std::uint64_t> database_size();
  bool has(PartKind kind) { return db_.part(kind) != nullptr; }

  Database& db_;
  Capture& capture_;
  std::vector<LogEntry> log_;
  std::vector<std::uint32_t> committed_pages_;  // of a journal whose super-journal is gone
  bool rolled_back_ = false;
  bool verify_ = false;
  bool repair_ = false;
  std::string verify_reason_;
};

}  // namespace caddis::db
