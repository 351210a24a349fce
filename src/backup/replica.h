// One database in one target: what is uploaded, when, and what may not be. An actor on the loop:
//
//   COMPARE    what the target holds against the local history (continuity.h); errors are tried again with back-off
//   SNAPSHOT   only a snapshot leads on (nothing there, log gone, page size changed, made anew after a drop)
//   FOLLOW     level 0 follows the durable commits; levels, retention and the daily snapshot run beside it
//   HALTED     the target holds what is not ours: nothing is written until the next start, and status says why
//
// Nothing is ever overwritten (If-None-Match); objects are deleted only by retention. Loop thread; disk and CPU work on
// the pool.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "backup/continuity.h"
#include "backup/levels.h"
#include "backup/local_databases.h"
#include "backup/log_reader.h"
#include "backup/plan.h"
#include "backup/slots.h"
#include "backup/target.h"
#include "backup/upload_note.h"
#include "base/clock.h"
#include "loop/loop.h"

namespace caddis::backup {

struct UploadOptions {
  std::int64_t sync_interval_ms = 1'000;  // per object of level 0; the first commit after a pause goes at once
  std::vector<Level> levels{Level{}};
  RetentionOptions retention;
  std::int64_t retention_check_ms = 15'000;
  std::int64_t first_retry_ms = 1'000;
  std::int64_t last_retry_ms = 30'000;
  std::uint64_t batch_limit_bytes = kBatchLimitBytes;
  std::size_t part_size_bytes = 5u << 20;
  std::uint64_t epoch = 1;  // of the lease, into every object
};

enum class ReplicaState { kCompare, kSnapshot, kFollow, kHalted };
std::string_view to_text(ReplicaState state);

struct ReplicaStatus {
  std::string target;
  std::string db;
  ReplicaState state = ReplicaState::kCompare;
  Txid uploaded;                      // what a restore gives now; Txid(0): nothing yet
  std::int64_t uploaded_wall_ms = 0;  // time of that transaction
  Txid durable;                       // what the volume has
  std::int64_t lag_ms = 0;            // age of the oldest transaction that is not uploaded
  Txid snapshot;                      // newest snapshot
  std::int64_t snapshot_wall_ms = 0;
  bool settled = false;  // nothing is left to upload, or nothing may be
  std::string error;     // last error, empty after success
};

class Replica {
 public:
  struct Context {
    loop::Loop& loop;
    const Clock& clock;
    LocalDatabases& databases;
    Target& target;
    UploadNotes& notes;
    Slots& slots;           // of this target: batches in memory and being sent
    Slots& snapshot_slots;  // snapshots take long and must not hold up the rest
    UploadOptions options;
    std::shared_ptr<const RecentLog> recent;  // of this database; may be null
    std::function<void()> changed;            // uploaded or state changed
  };
  Replica(Context context, std::string name);
  // Until stop. Once.
  loop::Task<void> run(std::stop_token stop);
  // A commit became durable.
  void committed(Txid txid, std::int64_t wall_ms);
  // Upload what is left without pause or back-off; snapshots and levels end unless a snapshot is what is left.
  void hurry();
  // Nothing is left to upload, or nothing may be.
  bool settled() const;
  // Lowest TXID that the log must keep for this target; Txid(0): none.
  Txid needed_from() const;
  // What this target may still read of the log: up to here it does not.
  Txid done_with() const;
  const std::string& name() const { return name_; }
  ReplicaStatus status() const;

 private:
  loop::Task<void> upload_loop(std::stop_token stop);
  loop::Task<void> snapshot_loop(std::stop_token stop);
  loop::Task<void> maintain_loop(std::stop_token stop);

  loop::Task<Status> compare(std::stop_token stop);
  loop::Task<Result<RemoteTail>> read_tail(std::stop_token stop);
  loop::Task<Result<LocalTail>> read_local(RemoteTail remote, LocalState local);
  loop::Task<Status> upload_pending(std::stop_token stop);
  loop::Task<Status> send(LogPiece piece, int level, std::stop_token stop);
  loop::Task<Status> send_stream(ObjectInfo info, PartEncoder& stream, std::stop_token stop, Txid wait_for = {});
  loop::Task<Status> check_conflict(ObjectInfo info, Checksum ours, std::stop_token stop);
  loop::Task<Status> take_snapshot(std::stop_token stop);
  loop::Task<Status> wait_durable(Txid txid, std::stop_token stop);
  loop::Task<Status> compact(int level, std::stop_token stop);
  loop::Task<Status> compact_run(std::vector<ObjectInfo> run, int level, std::stop_token stop);
  loop::Task<Status> compact_objects(std::vector<ObjectInfo> run, int level, std::stop_token stop);
  loop::Task<Status> copy_object(ObjectInfo from, int level, std::stop_token stop);
  loop::Task<Status> remove_expired(std::vector<ObjectInfo> expired, std::stop_token stop);
  loop::Task<void> write_note();
  loop::Task<void> give_memory_back();
  loop::Task<void> pause(std::int64_t ms, std::stop_token stop);
  loop::Task<void> back_off(std::int64_t ms, std::stop_token stop);

  void add_object(ObjectInfo info);
  void find_newest_snapshot();
  void advance(const Position& position, std::int64_t wall_ms);
  void want_snapshot(std::string why);
  void follow();
  void halt(std::string why);
  std::int64_t first_due_ms(const Level& level) const;
  void report(std::string_view intention, const Error& error);
  Txid settled_at() const;

  Context c_;
  std::string name_;
  ReplicaState state_ = ReplicaState::kCompare;
  std::vector<ObjectInfo> objects_;  // what the target holds
  ObjectInfo newest_snapshot_;
  Position uploaded_;
  std::int64_t uploaded_wall_ms_ = 0;
  std::uint32_t page_size_ = 0;  // of what is uploaded
  Txid durable_;
  Txid dropped_;  // the database was deleted by this transaction; nothing follows it yet
  std::optional<std::int64_t> pending_since_ms_;  // wall clock
  bool hurry_ = false;
  loop::Event work_;  // commits, or a new base
  loop::Event hurried_;
  loop::Event snapshot_;   // one is wanted
  loop::Event following_;  // set when FOLLOW was reached once
  loop::Event durable_moved_;
  std::stop_source background_;
  std::uint64_t sent_since_trim_ = 0;  // bytes
  Position noted_;
  std::int64_t noted_at_ms_ = 0;
  std::string error_;
  std::map<std::string, TimeMs, std::less<>> logged_;
};

}  // namespace caddis::backup
