// What one database's transactions are: turns WAL frames and journal commits into LTX files and keeps the position.
// Peer thread only (and boot, before there are threads).
//
// WAL: a transaction exists when the wal-index header says so (mxFrame, salts), not when a commit frame was written: a
// commit frame can be abandoned and overwritten. Without a wal-index (exclusive locking mode's heap index, boot) the
// valid checksum chain up to the last commit frame is the truth. Rollback journal: what was written to NAME since the
// last capture, page by page against the recorded checksums; a page that is as recorded was rolled back and is dropped.
// The commit is the moment the journal is finalised.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "db/database.h"
#include "db/ltx_writer.h"
#include "db/page_sums.h"
#include "ltx/header.h"
#include "os/file.h"
#include "sqlite/wal.h"

namespace caddis::db {

enum class CaptureOutcome {
  kNothing,   // all that is committed is captured
  kCaptured,  // at least one transaction was added
  kNotReady,  // -shm exists and its view is not attached, or its header is torn: try again
};

// How far a generation of the WAL (named by the salts in its header) has been captured.
struct WalTail {
  sqlite::WalHeader header;
  sqlite::WalPoint point;    // the last captured frame and the running checksum after it
  std::uint32_t change = 0;  // iChange of the wal-index there
  bool change_known = false;
  bool same_salts(std::uint32_t salt1, std::uint32_t salt2) const {
    return header.salt1 == salt1 && header.salt2 == salt2;
  }
};

class Capture {
 public:
  explicit Capture(Database& db);

  // Everything the database has committed in its WAL by now. `without_index`: do not look at the wal-index, take the
  // checksum chain (boot, and when no view of -shm can be had).
  Result<CaptureOutcome> capture_wal(bool without_index = false);
  // The dirty bytes of NAME against the recorded checksums. `durable`: the LTX is fdatasynced before this returns.
  // On error the dirty set is kept.
  Result<CaptureOutcome> capture_pages(bool durable);
  // The same up to the last step, while NAME is being synced: the LTX is on disk, and capture_pages(true) has only to
  // seal it, unless NAME was written to meanwhile. Errors are left to capture_pages.
  void prepare_pages();
  // Every page of what a reader sees now against the recorded checksums; the differences become one transaction.
  Result<CaptureOutcome> resync(std::string_view reason);
  // The last connection removed -wal (or a user did): pages of captured frames that never reached NAME revert.
  Result<CaptureOutcome> wal_removed();
  // NAME is unlinked: an LTX with commit 0.
  Status capture_drop();
  // After a completed checkpoint (the barrier): pages written by it are known.
  Status checkpoint_passed();
  // True when everything of the captured position lies in the database file (so that sums may be saved after its
  // fsync).
  bool all_backfilled();

  Position position() const { return position_; }
  const PageSums& sums() const { return sums_; }
  // The last kNotReady was a wal-index whose header is not valid and does not become so: its writer was killed.
  bool index_is_torn() const { return index_torn_; }
  bool has_uncaptured_wal() const;  // bytes were written to -wal behind the captured point

 private:
  friend class Database;
  friend class Engine;
  friend class Recovery;
  struct PageRef {
    Pgno pgno;
    std::uint32_t frame = 0;  // of the WAL; 0: the page of the database file
  };
  struct Change {
    std::vector<PageRef> pages;  // ascending
    std::uint32_t commit = 0;
    std::uint32_t page_size = 0;
    std::uint64_t transactions = 1;
    bool drop_equal = false;  // leave out pages whose checksum is the recorded one
    bool durable = false;
    WalTail from;  // with frames: where they begin
    std::uint32_t to_frame = 0;
  };
  // The WAL as a reader finds it.
  struct WalTarget {
    sqlite::WalPoint point;
    std::uint32_t salt1 = 0;
    std::uint32_t salt2 = 0;
    std::uint32_t change = 0;
    std::uint32_t backfilled = 0;  // frames that a checkpoint has copied into the database
    bool from_index = false;       // else the end is found by walking the chain
  };
  struct WalScan {
    WalTail tail;               // behind the last commit frame found
    std::vector<PageRef> refs;  // every frame up to there, in order
    std::uint32_t commits = 0;
    std::uint32_t pages = 0;
  };
  enum class IndexState { kAbsent, kNotReady, kEmpty, kValid };
  IndexState read_index(WalTarget& target);
  std::optional<WalTail> read_wal_start(os::File& wal);
  Result<WalScan> scan_wal(os::File& wal, const WalTail& from, std::uint32_t to_frame);
  Result<CaptureOutcome> capture_frames(os::File& wal, const WalTarget& target);
  Result<CaptureOutcome> commit_scan(WalScan scan, const WalTail& from, std::uint64_t transactions);

  // A change as a file of the log that is complete but for its end.
  struct Draft {
    std::unique_ptr<LtxWriter> writer;
    std::vector<std::pair<Pgno, Checksum>> sums;  // of its pages
    Checksum post_apply;
    Position before;
    std::uint32_t commit = 0;
    std::uint32_t page_size = 0;
    std::uint64_t transactions = 1;
    std::uint64_t writes = 0;  // prepare_pages: Database::writes_ at the time
  };
  Result<CaptureOutcome> write_change(const Change& change);
  Result<std::optional<Draft>> draft_change(const Change& change);  // nullopt: nothing differs
  // The transaction is in the log: checksums, position, news. `unsynced` as in publish().
  void adopt_draft(const Draft& draft, std::shared_ptr<os::File> unsynced);
  Result<bool> seal_prepared();  // false: there is none that holds
  ltx::Header header_of(const Change& change) const;
  Status sync_dirs_once();
  Status read_page(const PageRef& ref, std::uint32_t page_size, ByteSpan out);
  // Appends pages (first, last] that are not in `pages` (sorted by pgno), with their frames of this generation.
  void add_growth(std::vector<PageRef>& pages, std::uint32_t old_count, std::uint32_t new_count,
                  std::uint32_t page_size);
  Result<CaptureOutcome> compare_pages(std::vector<std::uint32_t> pgnos, std::uint32_t commit, std::uint32_t page_size,
                                       bool durable);
  Change comparison(std::vector<std::uint32_t> pgnos, std::uint32_t commit, std::uint32_t page_size, bool durable);
  // What has been written, as a change from the recorded state. Nothing in it: NAME is empty, and was.
  Result<std::optional<Change>> dirty_change(const std::vector<DirtyRange>& dirty, bool durable);
  Result<std::pair<std::uint32_t, std::uint32_t>> file_geometry();  // page size, pages; 0/0 for an empty file
  // Tells readers and sinks of the new position. `unsynced`: the LTX file, when it is not durable yet.
  void publish(Txid min, std::shared_ptr<os::File> unsynced);

  Database& db_;
  std::unique_ptr<os::Dir> ltx_dir_;
  Position position_;
  PageSums sums_;
  bool sync_each_ = false;  // boot and close: what is captured must be durable before its source goes
  std::optional<WalTail> wal_;
  bool index_torn_ = false;
  bool index_seen_ = false;                                      // this -wal has had an initialised wal-index
  std::unordered_map<std::uint32_t, std::uint32_t> wal_frames_;  // pgno → last captured frame of this generation
  Txid saved_txid_;                                              // of the side file
  std::uint64_t bytes_since_saved_ = 0;
  std::int64_t saved_at_ms_ = 0;
  bool saving_ = false;
  Txid written_sums_txid_;  // of the side file on disk; under Engine::sums_mutex_
  bool dirs_synced_ = false;
  std::optional<Draft> prepared_;
  // pacing (engine.cc)
  std::int64_t next_look_us_ = 0;
  std::int64_t idle_step_us_ = 0;
  std::int64_t quiet_since_us_ = 0;
};

}  // namespace caddis::db
