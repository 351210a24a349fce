// One database on this machine: its files, its capture into the LTX log, its position.
//
// Three kinds of threads meet here:
//   FUSE workers   call the file operations below. They do local disk work inline; whatever needs the capture state is
//                  queued for the peer thread and answered from there through `Reply`. They never wait.
//   the peer       (Engine::step) owns the capture state of all databases: WAL frames into LTX, journal commits into
//   LTX,
//                  barriers. See capture.h.
//   pool threads   read snapshots and log files.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"
#include "os/file.h"

namespace caddis::db {

class Engine;
class Capture;
class SnapshotCow;

enum class PartKind { kDatabase, kWal, kShm, kJournal };
std::string_view part_file_name(PartKind kind);  // database, wal, shm, journal (LiteFS's names in dbs/NAME/)

// An open backing file. Stays usable for those who hold it after the name is gone or names another file.
using PartFile = std::shared_ptr<os::File>;
struct DirtyRange {  // bytes of NAME, [begin, end)
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
// Called exactly once, on the calling thread or on the peer thread.
using Reply = std::move_only_function<void(Status)>;
using PositionReply = std::move_only_function<void(Result<Position>)>;

// What the peer can do through descriptors opened on our own mount (fuse::Attacher makes them). Kernel-local calls
// only: none of these may ever cause a FUSE request. Peer thread.
class MountView {
 public:
  virtual ~MountView() = default;
  // Copies the first 136 bytes of the wal-index. False when -shm is not mapped (yet), or is shorter.
  virtual bool read_wal_index(ByteSpan out) = 0;
  // True when any process holds a lock on SQLite's lock bytes of the database file (F_OFD_GETLK).
  virtual bool app_holds_lock() = 0;
  // SHARED on the database as SQLite takes it (PENDING read-locked meanwhile). False: a writer is in its exclusive
  // phase.
  virtual bool try_lock_shared() = 0;
  virtual void unlock_shared() = 0;
};

class Database : public std::enable_shared_from_this<Database> {
 public:
  ~Database();
  const std::string& name() const { return name_; }
  // The last captured position. Any thread. A commit that has just returned may not be in it yet: see read_position.
  Position position() const;
  // Size in pages and bytes per page after the last captured transaction; 0 pages: empty or dropped.
  std::uint32_t page_count() const;
  std::uint32_t page_size_bytes() const;
  std::int64_t last_commit_wall_ms() const;
  // False after a drop (unlink of NAME): the object stays for those who still have the files open.
  bool live() const { return live_.load(std::memory_order_acquire); }

  // --- FUSE workers ------------------------------------------------------------------------------------------------
  // The current file of that name, opened; null when there is none.
  PartFile part(PartKind kind);
  // Makes -wal, -shm or -journal (kDatabase comes from Engine::adopt). Emptied when `truncate`.
  Result<PartFile> create_part(PartKind kind, bool truncate);
  void write(PartKind kind, const PartFile& file, ByteView data, std::uint64_t offset, Reply reply);
  void truncate(PartKind kind, const PartFile& file, std::uint64_t size_bytes, Reply reply);
  void sync(PartKind kind, const PartFile& file, bool data_only, Reply reply);
  // close() of a descriptor of NAME that was open for writing (FUSE FLUSH): ends a raw writer's session (cp, dd).
  void flush(PartKind kind, const PartFile& file, Reply reply);
  // Unlinks the part. kDatabase is a drop: an LTX with commit 0, then all parts go.
  void remove(PartKind kind, Reply reply);
  // The position after everything that has been committed when this is called (NAME-pos).
  void read_position(PositionReply reply);

  // --- fuse::Attacher ----------------------------------------------------------------------------------------------
  // Hands over (or takes back, with null) the own-mount descriptors. When this returns the peer does not use the old
  // one. Any thread but FUSE workers and the peer.
  void set_view(std::shared_ptr<MountView> view);

 private:
  friend class Engine;
  friend class Capture;
  friend class Recovery;
  Database(Engine& engine, std::string name, std::shared_ptr<os::Dir> dir);

  // Workers and peer.
  void mark_dirty(std::uint64_t begin, std::uint64_t end) EXCLUDES(mutex_);
  bool is_current(PartKind kind, const PartFile& file) EXCLUDES(mutex_);
  bool has_dirty() EXCLUDES(mutex_);
  // Written without a journal that could be rolled back, and no WAL: journal_mode MEMORY or OFF, or a raw writer.
  bool dirty_without_journal() EXCLUDES(mutex_);
  // Written under a journal that is synced: a sync of NAME is then the last thing before the commit.
  bool dirty_under_journal() EXCLUDES(mutex_);
  std::uint64_t wal_end() const { return wal_end_.load(std::memory_order_acquire); }
  std::shared_ptr<MountView> view() EXCLUDES(mutex_);
  std::shared_ptr<SnapshotCow> snapshot() EXCLUDES(mutex_);

  // Peer.
  std::vector<DirtyRange> take_dirty() EXCLUDES(mutex_);
  void put_back_dirty(std::vector<DirtyRange> ranges) EXCLUDES(mutex_);
  // What is dirty now, and how many writes there have been.
  std::pair<std::vector<DirtyRange>, std::uint64_t> look_at_dirty() EXCLUDES(mutex_);
  // As take_dirty, when nothing was written since there were so many writes.
  std::optional<std::vector<DirtyRange>> take_dirty_as_of(std::uint64_t writes) EXCLUDES(mutex_);
  void set_published(Position position, std::uint32_t pages, std::uint32_t page_size, std::int64_t wall)
      EXCLUDES(mutex_);
  void set_snapshot(std::shared_ptr<SnapshotCow> snapshot) EXCLUDES(mutex_);
  void forget_part(PartKind kind) EXCLUDES(mutex_);
  // Captures all that is committed in the WAL, then calls; tries again for a while when the wal-index is not readable.
  void when_captured(Reply then, std::int64_t waited_us = 0);
  void finish_journal(std::move_only_function<Status()> finalise, Reply reply);
  void capture_boundary(Reply then, bool durable);
  void remove_wal(Reply reply);
  void remove_shm(Reply reply);
  void drop(Reply reply);

  Engine& engine_;
  const std::string name_;
  std::shared_ptr<os::Dir> dir_;  // dbs/NAME
  std::atomic<bool> live_{true};

  mutable Mutex mutex_;  // held for a moment; never across a sync or anything that touches the mount
  PartFile parts_[4] GUARDED_BY(mutex_);
  Position position_ GUARDED_BY(mutex_);
  std::uint32_t page_count_ GUARDED_BY(mutex_) = 0;
  std::uint32_t page_size_ GUARDED_BY(mutex_) = 0;
  std::int64_t last_commit_wall_ms_ GUARDED_BY(mutex_) = 0;
  std::vector<DirtyRange> dirty_ GUARDED_BY(mutex_);  // written to NAME since the last capture took them
  std::uint64_t writes_ GUARDED_BY(mutex_) = 0;       // to NAME, ever
  std::int64_t last_write_us_ GUARDED_BY(mutex_) = 0;
  bool journal_live_ GUARDED_BY(mutex_) = false;    // -journal has a header that is not zeroed
  bool journal_synced_ GUARDED_BY(mutex_) = false;  // the app syncs: its commits are to survive power loss
  std::shared_ptr<MountView> view_ GUARDED_BY(mutex_);
  std::shared_ptr<SnapshotCow> snapshot_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> wal_end_{0};   // end of the last write to -wal
  std::atomic<bool> names_changed_{false};  // since the directory was synced
  std::atomic<bool> backing_off_{false};    // the peer looks seldom, as nothing has been committed for a while
  std::atomic<bool> active_{false};         // the peer is watching this database

  std::unique_ptr<Capture> capture_;  // peer thread only
};

}  // namespace caddis::db
