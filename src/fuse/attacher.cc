#include "fuse/attacher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"

namespace caddis::fuse {
namespace {

// SQLite's lock bytes in the database file (os.h).
constexpr off_t kPendingByte = 0x40000000;
constexpr off_t kSharedFirst = kPendingByte + 2;
constexpr off_t kSharedSize = 510;
constexpr off_t kLockBytes = 2 + kSharedSize;

struct flock lock_range(short type, off_t start, off_t length) {
  struct flock l{};
  l.l_type = type;
  l.l_whence = SEEK_SET;
  l.l_start = start;
  l.l_len = length;
  l.l_pid = 0;  // OFD locks demand it
  return l;
}

bool set_lock(int fd, short type, off_t start, off_t length) {
  struct flock l = lock_range(type, start, length);
  return ::fcntl(fd, F_OFD_SETLK, &l) == 0;
}

// Opens a file of the mount and makes sure that it is `db`'s: a database of the same name may have been made meanwhile.
Result<OwnFile> open_own(const std::string& path, const NodeTable& nodes, const MountedDatabase& db, NodeKind kind) {
  OwnFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY));
  if (file.fd() < 0) return from_errno(errno, "open {} through the mount", path);
  struct stat st{};
  if (::fstat(file.fd(), &st) != 0) return from_errno(errno, "stat {} through the mount", path);
  NodePtr node = nodes.find(st.st_ino);
  if (!node || node->kind() != kind || node->mounted().get() != &db) {
    return not_found("{} is another database's by now", path);
  }
  return file;
}

}  // namespace

OwnFile::~OwnFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool View::read_wal_index(ByteSpan out) {
  if (!has_shm_.load(std::memory_order_acquire)) return false;
  // Other processes write here while we read; the caller compares the two copies of the header.
  ssize_t n = ::pread(shm_.fd(), out.data(), out.size(), 0);
  return n == static_cast<ssize_t>(out.size()) && has_shm_.load(std::memory_order_acquire);
}

bool View::app_holds_lock() {
  struct flock l = lock_range(F_WRLCK, kPendingByte, kLockBytes);
  if (::fcntl(database_->fd(), F_OFD_GETLK, &l) != 0) return true;  // not known: as if
  return l.l_type != F_UNLCK;
}

bool View::try_lock_shared() {
  int fd = database_->fd();
  if (!set_lock(fd, F_RDLCK, kPendingByte, 1)) return false;
  bool ok = set_lock(fd, F_RDLCK, kSharedFirst, kSharedSize);
  set_lock(fd, F_UNLCK, kPendingByte, 1);
  return ok;
}

void View::unlock_shared() { set_lock(database_->fd(), F_UNLCK, kPendingByte, kLockBytes); }

void Attacher::start() {
  sigset_t all, before;  // signals are the main thread's business
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Attacher::stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

bool Attacher::post(std::move_only_function<void()> job) {
  MutexLock lock(mutex_);
  if (stopping_) return false;
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

void Attacher::attach(MountedDatabasePtr db) {
  post([this, db = std::move(db)] { do_attach(db); });
}

void Attacher::shm_appeared(MountedDatabasePtr db, std::uint64_t shm_ino) {
  {
    MutexLock lock(db->mutex);
    if (db->dropped || db->shm_ino.load() == shm_ino) return;
    db->shm_ino.store(shm_ino);
    db->shm.store(MountedDatabase::Shm::kPending, std::memory_order_release);
  }
  if (!post([this, db] { do_attach_shm(db); })) release_parked(*db, shm_ino);
}

void Attacher::shm_unlinked(MountedDatabasePtr db, std::uint64_t shm_ino) {
  {
    MutexLock lock(db->mutex);
    if (db->shm_ino.load() != shm_ino) return;
    db->shm_ino.store(0);
    if (db->view) db->view->forget_shm();
  }
  if (!post([this, db] { do_shm_unlinked(db); })) release_parked(*db, 0);
}

void Attacher::detach(MountedDatabasePtr db) {
  post([this, db = std::move(db)] { do_detach(db); });
}

void Attacher::run() {
  pthread_setname_np(pthread_self(), "caddis-attach");
  for (;;) {
    std::move_only_function<void()> job;
    {
      MutexLock lock(mutex_);
      while (jobs_.empty() && !stopping_) changed_.wait(mutex_);
      if (jobs_.empty()) break;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
  for (const std::weak_ptr<MountedDatabase>& weak : attached_) {
    if (MountedDatabasePtr db = weak.lock()) do_detach(db);
  }
}

void Attacher::do_attach(const MountedDatabasePtr& db) {
  Result<OwnFile> file = open_own(dir_ + "/" + db->database->name(), nodes_, *db, NodeKind::kDatabase);
  if (!file) {
    if (file.error().code() != ErrorCode::kNotFound) log_error("attach " + db->database->name(), file.error());
    return;
  }
  std::erase_if(attached_, [](const auto& weak) { return weak.expired(); });
  attached_.push_back(db);
  install(*db, std::make_shared<View>(std::make_shared<OwnFile>(std::move(*file)), OwnFile()));
}

void Attacher::install(MountedDatabase& db, std::shared_ptr<View> view) {
  std::shared_ptr<View> old;
  {
    MutexLock lock(db.mutex);
    if (db.dropped) return;
    old = std::exchange(db.view, view);
  }
  db.database->set_view(std::move(view));  // no mutex held: it may wait for the peer
}

Result<OwnFile> Attacher::open_shm(const MountedDatabase& db, std::uint64_t expected_ino) {
  std::string path = dir_ + "/" + db.database->name() + "-shm";
  TRY_ASSIGN(OwnFile shm, open_own(path, nodes_, db, NodeKind::kShm));
  std::uint8_t first[1];  // brings the page into the cache
  if (::pread(shm.fd(), first, sizeof first, 0) < 0) return from_errno(errno, "read {} through the mount", path);
  struct stat st{};
  if (::fstat(shm.fd(), &st) != 0) return from_errno(errno, "stat {} through the mount", path);
  if (st.st_ino != expected_ino) return not_found("{} is another file by now", path);
  return shm;
}

void Attacher::do_attach_shm(const MountedDatabasePtr& db) {
  std::uint64_t wanted = 0;
  std::shared_ptr<OwnFile> database_file;
  {
    MutexLock lock(db->mutex);
    wanted = db->shm_ino.load();
    if (db->view) database_file = db->view->database_file();
  }
  if (wanted != 0 && database_file) {
    Result<OwnFile> shm = open_shm(*db, wanted);
    if (shm) {
      auto view = std::make_shared<View>(std::move(database_file), std::move(*shm));
      install(*db, view);
      MutexLock lock(db->mutex);
      if (db->shm_ino.load() != wanted) view->forget_shm();  // unlinked while we opened it
    } else {
      if (shm.error().code() != ErrorCode::kNotFound) {
        log_error("read the wal-index of " + db->database->name(), shm.error(), "commits are read from -wal instead");
      }
      MutexLock lock(db->mutex);
      if (db->shm_ino.load() == wanted) db->shm_ino.store(0);  // the next write to it tries again
      wanted = 0;
    }
  }
  release_parked(*db, wanted);
}

// Does the writes that waited for `shm_ino`. Those that arrive meanwhile go behind them: the state changes under the
// mutex when none is left. A newer -shm has its own job.
void Attacher::release_parked(MountedDatabase& db, std::uint64_t shm_ino) {
  for (;;) {
    std::vector<std::move_only_function<void()>> writes;
    {
      MutexLock lock(db.mutex);
      if (db.shm_ino.load() != shm_ino) return;
      if (db.parked.empty()) {
        db.shm.store(shm_ino != 0 ? MountedDatabase::Shm::kReadable : MountedDatabase::Shm::kNone,
                     std::memory_order_release);
        return;
      }
      writes.swap(db.parked);
    }
    for (auto& write : writes) write();
  }
}

void Attacher::do_shm_unlinked(const MountedDatabasePtr& db) {
  std::shared_ptr<OwnFile> database_file;
  {
    MutexLock lock(db->mutex);
    if (db->shm_ino.load() != 0) return;  // a new -shm is on its way: its job replaces the view
    if (db->view) database_file = db->view->database_file();
  }
  if (database_file) install(*db, std::make_shared<View>(std::move(database_file), OwnFile()));
  release_parked(*db, 0);
}

void Attacher::do_detach(const MountedDatabasePtr& db) {
  std::shared_ptr<View> old;
  {
    MutexLock lock(db->mutex);
    old = std::exchange(db->view, nullptr);
    db->dropped = true;
    db->shm_ino.store(0);
  }
  if (old) db->database->set_view(nullptr);
  release_parked(*db, 0);
}

}  // namespace caddis::fuse
