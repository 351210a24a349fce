// The one thread that opens files of our own mount: it gives the peer what it needs to take part in SQLite's locking
// and to read the wal-index (db::MountView), and takes it back. It also tells the kernel to forget what it cached.
//
// It makes FUSE requests that the workers answer, so no worker ever waits for it; what must wait for it is parked
// (MountedDatabase::parked).
//
// Nothing of the own mount is ever mapped into this process. When it is killed, the kernel takes its memory apart
// before its descriptors: unmapping writes back what apps have dirtied in -shm, to a daemon that is no more, and both
// hang until somebody aborts the connection (seen on 6.18). A pread of a page that is in the cache asks nobody.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "db/database.h"
#include "fuse/nodes.h"

namespace caddis::fuse {

// -shm is opened when it has its first page: before that SQLite has not begun to use it.
inline constexpr std::size_t kShmPageSize = 4096;

// An open descriptor of our own mount, closed at the end.
class OwnFile {
 public:
  OwnFile() = default;
  explicit OwnFile(int fd) : fd_(fd) {}
  OwnFile(OwnFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnFile& operator=(OwnFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnFile();
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

class View final : public db::MountView {
 public:
  View(std::shared_ptr<OwnFile> database, OwnFile shm)
      : database_(std::move(database)), shm_(std::move(shm)), has_shm_(shm_.fd() >= 0) {}
  bool read_wal_index(ByteSpan out) override;
  bool app_holds_lock() override;
  bool try_lock_shared() override;
  void unlock_shared() override;
  // -shm has been unlinked: what is open here is no longer the app's. Any thread.
  void forget_shm() { has_shm_.store(false, std::memory_order_release); }
  const std::shared_ptr<OwnFile>& database_file() const { return database_; }

 private:
  std::shared_ptr<OwnFile> database_;  // NAME, read-only; shared with the view that replaces this one
  OwnFile shm_;
  std::atomic<bool> has_shm_;
};

class Attacher {
 public:
  Attacher(std::string dir, const NodeTable& nodes) : dir_(std::move(dir)), nodes_(nodes) {}
  ~Attacher() { stop(); }
  void start();
  // Takes every view back and ends the thread; writes still parked are done first.
  void stop();

  // All of these return at once; any thread. After stop() they do nothing.
  void attach(MountedDatabasePtr db);                               // a new view without -shm
  void shm_appeared(MountedDatabasePtr db, std::uint64_t shm_ino);  // it has its first page: parks writes to -wal
  void shm_unlinked(MountedDatabasePtr db, std::uint64_t shm_ino);  // it is not read any more when this returns
  void detach(MountedDatabasePtr db);                               // the database was dropped
  bool post(std::move_only_function<void()> job);                   // false: stopped, not taken

 private:
  void run();
  void do_attach(const MountedDatabasePtr& db);
  void do_attach_shm(const MountedDatabasePtr& db);
  void do_shm_unlinked(const MountedDatabasePtr& db);
  void do_detach(const MountedDatabasePtr& db);
  Result<OwnFile> open_shm(const MountedDatabase& db, std::uint64_t expected_ino);
  void install(MountedDatabase& db, std::shared_ptr<View> view);
  static void release_parked(MountedDatabase& db, std::uint64_t shm_ino);

  const std::string dir_;
  const NodeTable& nodes_;
  std::thread thread_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::move_only_function<void()>> jobs_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<MountedDatabase>> attached_;  // attacher thread
};

}  // namespace caddis::fuse
