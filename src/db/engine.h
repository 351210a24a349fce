// All databases of a data directory, their boot, and the peer's work. Steppable: without a thread a test calls step()
// itself; PeerThread (peer_thread.h) does nothing but call it.
//
// Data directory (LiteFS's layout; ours in caddis/ beside it):
//   clusterid, dbs/NAME/{database,journal,wal,shm,ltx/MIN-MAX.ltx}, caddis/{sums/NAME,scratch/,tmp/,lost/,…}
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "db/database.h"
#include "db/page_sums.h"
#include "db/snapshot.h"
#include "os/file.h"

namespace caddis::db {

class Log;

// A database name: 1–247 bytes, no "/", NUL or control characters, no leading ".", no reserved suffix (-journal, -wal,
// -shm, -pos, -lock), not NAME-mj + 9 hex digits (a super-journal), not etilqs_*. The only place that decides.
Status validate_name(std::string_view name);

struct Commit {
  std::string name;
  Txid min;           // first transaction of the LTX
  Position position;  // after it
  std::uint32_t page_size_bytes = 0;
  std::uint32_t page_count = 0;  // 0: dropped
  std::int64_t wall_ms = 0;
};

// Told of every LTX. Peer thread; must not block.
class CommitSink {
 public:
  virtual ~CommitSink() = default;
  virtual void committed(const Commit& commit) = 0;  // captured, readable in the log; maybe not yet durable
  virtual void durable(const Commit& commit) = 0;    // fdatasynced: may be shown to others
};

// Drops what the kernel has cached of a file of the mount (fuse implements it). Not from a FUSE worker.
class KernelCache {
 public:
  virtual ~KernelCache() = default;
  virtual void invalidate(const std::string& file_name) = 0;  // NAME, NAME-pos, …
};

struct EngineOptions {
  std::shared_ptr<os::Dir> data_dir;
  Clock* clock = nullptr;
  Metrics* metrics = nullptr;
  bool compress = true;
  bool strict_verify = false;
  std::int64_t retention_ms = 600'000;          // <= 0: keep everything
  std::int64_t retention_interval_ms = 60'000;  // <= 0: never look
  std::uint64_t node_id = 0;
  // Runs a blocking function on a pool thread. Tests run it inline.
  std::function<void(std::move_only_function<void()>)> offload;
  // Called once when a committed transaction can't be captured (exit 99): take the mount down, stop the app.
  std::function<void(const Error&)> on_fatal;
};

class Engine {
 public:
  explicit Engine(EngineOptions options);
  ~Engine();

  // Boot. Opens the directory, recovers every database (journal, WAL, log), adopts bare SQLite files, sets aside what
  // is no database. After this and before the first FUSE request everything is consistent. Errors name the database.
  Status open();
  // Clean stop, after the app is gone and the mount is down: captures what is left, syncs the log, writes the
  // checksums.
  Status close();

  // True when there is no dbs/*/database longer than 0 and no dbs/*/ltx/*.ltx. Static: before open().
  static Result<bool> is_empty_volume(os::Dir& data_dir);
  // Puts a restored file in place, before open(): `tmp_name` in caddis/tmp becomes dbs/NAME/database at `position`,
  // with a log that starts there (a LiteFS reads it too).
  Status install_restored(const std::string& name, const std::string& tmp_name, Position position);

  std::vector<std::shared_ptr<Database>> databases();     // live ones, sorted by name
  std::shared_ptr<Database> find(std::string_view name);  // live one, or null
  // The last captured position of every database, sorted by name; of dropped ones the TXID goes on.
  std::vector<std::pair<std::string, Position>> positions(bool with_dropped);
  // A plain file of the scratch directory has proved to be a database: its backing file is renamed into dbs/NAME/
  // (descriptors stay valid) and `file` becomes its kDatabase part. FUSE workers. `already_written`: bytes it holds.
  Result<std::shared_ptr<Database>> adopt(const std::string& name, const std::string& scratch_name, PartFile file);
  // A journal or WAL that was put there before its database (cp app.db*): it becomes the part. Right after adopt().
  Status adopt_part(Database& db, PartKind kind, const std::string& scratch_name);
  os::Dir& scratch() { return *scratch_; }  // caddis/scratch
  os::Dir& tmp() { return *tmp_; }          // caddis/tmp

  // fsync of the mount's directory: names that were created or removed since are durable afterwards. FUSE workers.
  // `scratch_too`: false when the caller knows that no plain file came or went since (each fsync is a flush of the
  // disk).
  Status sync_names(bool scratch_too = true);

  bool writable() const { return writable_.load(std::memory_order_acquire); }
  void set_writable(bool writable);

  void add_sink(CommitSink* sink);  // before the peer runs
  Log& log() { return *log_; }      // reading of LTX files, any thread
  // A consistent image as of now, read page by page without holding any SQLite lock (snapshot.h). The reply comes on
  // the peer thread; one snapshot a database at a time, further requests wait for their turn.
  void start_snapshot(const std::shared_ptr<Database>& db,
                      std::move_only_function<void(Result<std::shared_ptr<SnapshotReader>>)> reply);
  // Replies when everything committed so far is captured and durable (stop, hand-over).
  void drain(Reply reply);
  // Lowest TXID that must stay in the log for somebody (uploads); kept until retention × 6 at most.
  void set_needed_from(const std::string& name, Txid txid);

  // --- the peer ----------------------------------------------------------------------------------------------------
  // Does what is due; returns in how many microseconds it wants to be called again, or -1: not before wait()'s next
  // wake.
  std::int64_t step();
  // Blocks until work arrives or `us` microseconds passed (-1: no limit).
  void wait(std::int64_t us);
  void wake();

 private:
  friend class Database;
  friend class Capture;
  friend class Recovery;
  using Job = std::move_only_function<void()>;
  struct State;

  const EngineOptions& options() const { return options_; }
  void post(Job job);                                  // any thread; wakes the peer
  void post_later(std::int64_t delay_us, Job job);     // peer
  void offload(std::move_only_function<void()> work);  // as options().offload, and close() waits for it
  void finish_offloaded();
  void when_log_durable(Reply then);  // peer: once everything committed so far would survive a power loss
  std::int64_t now_us() const;
  // A write that may lead to a commit. Any thread; wakes the peer only when it is not watching this database already.
  void note_activity(const std::shared_ptr<Database>& db);
  // A long transaction is about to be committed: its capture should begin now, not at the checkpoint's barrier. Any
  // thread.
  void expect_commit(Database& db);
  // An LTX was added. Peer. `unsynced`: its file when it must still be synced before sinks hear `durable`.
  void committed(const std::shared_ptr<Database>& db, Commit commit, std::shared_ptr<os::File> unsynced);
  Status sync_dbs_dir();
  void snapshot_ended(const std::shared_ptr<Database>& db);  // any thread
  Status open_database(const std::string& name);
  void forget_dropped(const std::shared_ptr<Database>& db);
  // Returns when the step that runs now (if any) is over. Not from the peer, nor from a FUSE worker.
  void wait_for_peer();
  void reply_drain(std::vector<std::shared_ptr<Database>> rest, Reply reply);

  std::int64_t watch(const std::shared_ptr<Database>& db, std::int64_t now);
  void start_sync();
  void begin_snapshot(const std::shared_ptr<Database>& db);
  void save_sums_if_due(Database& db, bool now);
  // Writes the side file, unless a newer one has been written. Any thread: a save under way may meet the one at close.
  Status write_sums(Database& db, const SavedSums& saved);
  void enforce_retention();
  void enforce_retention(Database& db);

  EngineOptions options_;
  std::unique_ptr<os::Dir> caddis_dir_;
  std::shared_ptr<os::Dir> dbs_;
  std::unique_ptr<os::Dir> scratch_;
  std::unique_ptr<os::Dir> tmp_;
  std::unique_ptr<os::Dir> sums_;
  Mutex sums_mutex_;  // one side file is written at a time
  std::unique_ptr<os::Dir> lost_;
  std::unique_ptr<Log> log_;
  std::atomic<bool> writable_{false};
  std::atomic<bool> dbs_names_changed_{false};  // a directory was made in dbs/ since it was synced
  std::vector<CommitSink*> sinks_;
  std::unique_ptr<State> state_;
};

}  // namespace caddis::db
