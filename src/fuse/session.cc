#include "fuse/session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/log.h"
#include "base/mutex.h"
#include "fuse/stale_mount.h"

namespace caddis::fuse {
namespace {

// Wire layout (linux/fuse.h): fuse_in_header is 40 bytes {u32 len, u32 opcode, u64 unique, …}; fuse_init_in begins
// {u32 major, minor, max_readahead, flags}; fuse_out_header is 16 bytes; fuse_init_out is 64 bytes and begins as
// init_in.
constexpr std::uint32_t kOpcodeInit = 26;
constexpr std::size_t kInHeaderSize = 40;
constexpr std::size_t kInitFlagsOffset = 12;
constexpr std::uint32_t kHandleKillprivV2 = 1u << 28;  // libfuse 3.14 does not know it

struct stat to_stat(const Attr& a) {
  struct stat st{};
  st.st_ino = a.ino;
  st.st_mode = a.mode;
  st.st_nlink = a.nlink;
  st.st_uid = a.uid;
  st.st_gid = a.gid;
  st.st_size = static_cast<off_t>(a.size_bytes);
  st.st_blocks = static_cast<blkcnt_t>(a.blocks_512);
  st.st_blksize = 4096;
  st.st_mtim = st.st_ctim = st.st_atim = a.mtime;
  return st;
}

fuse_entry_param to_entry(const Entry& e) {
  fuse_entry_param p{};
  p.ino = e.attr.ino;
  p.generation = 0;  // inode numbers are never used twice
  p.attr = to_stat(e.attr);
  p.attr_timeout = e.attr.timeout_s;
  p.entry_timeout = e.entry_timeout_s;
  return p;
}

fuse_file_info to_file_info(const Opened& o) {
  fuse_file_info fi{};
  fi.fh = o.fh;
  fi.direct_io = o.direct_io;
  fi.keep_cache = o.keep_cache;
  fi.noflush = o.noflush;
  return fi;
}

class LibfuseSink final : public ReplySink {
 public:
  void reply_error(void* raw, int errno_value) override { fuse_reply_err(req(raw), errno_value); }
  bool reply_entry(void* raw, const Entry& entry) override {
    fuse_entry_param p = to_entry(entry);
    return fuse_reply_entry(req(raw), &p) == 0;
  }
  bool reply_create(void* raw, const Entry& entry, const Opened& opened) override {
    fuse_entry_param p = to_entry(entry);
    fuse_file_info fi = to_file_info(opened);
    return fuse_reply_create(req(raw), &p, &fi) == 0;
  }
  bool reply_open(void* raw, const Opened& opened) override {
    fuse_file_info fi = to_file_info(opened);
    return fuse_reply_open(req(raw), &fi) == 0;
  }
  void reply_attr(void* raw, const Attr& attr) override {
    struct stat st = to_stat(attr);
    fuse_reply_attr(req(raw), &st, attr.timeout_s);
  }
  void reply_data(void* raw, ByteView data) override {
    fuse_reply_buf(req(raw), reinterpret_cast<const char*>(data.data()), data.size());
  }
  void reply_written(void* raw, std::size_t bytes) override { fuse_reply_write(req(raw), bytes); }
  void reply_statfs(void* raw, const struct statvfs& st) override { fuse_reply_statfs(req(raw), &st); }
  void reply_dir(void* raw, const std::vector<DirEntry>& entries, std::size_t size_limit) override {
    std::string buf(size_limit, '\0');
    std::size_t used = 0;
    for (const DirEntry& e : entries) {
      struct stat st{};
      st.st_ino = 0xffffffff;  // not known without a lookup
      st.st_mode = e.mode;
      std::size_t n = fuse_add_direntry(req(raw), buf.data() + used, size_limit - used, e.name.c_str(), &st,
                                        static_cast<off_t>(e.cookie));
      if (n > size_limit - used) break;
      used += n;
    }
    fuse_reply_buf(req(raw), buf.data(), used);
  }

 private:
  static fuse_req_t req(void* raw) { return static_cast<fuse_req_t>(raw); }
};

}  // namespace

struct Session::Impl {
  SessionOptions options;
  Operations* ops = nullptr;
  LibfuseSink sink;
  fuse_session* session = nullptr;
  unsigned device_minor = 0;
  std::vector<std::thread> workers;
  bool stopped = false;

  std::uint64_t init_unique = 0;   // before init_sent: only the thread that handles INIT
  std::uint32_t init_offered = 0;  // flags the kernel offered
  std::atomic<bool> init_sent{false};

  Mutex mutex;
  CondVar changed;
  bool ready GUARDED_BY(mutex) = false;
  int running GUARDED_BY(mutex) = 0;
  CondVar leaderless;
  bool has_leader GUARDED_BY(mutex) = false;
  bool over GUARDED_BY(mutex) = false;  // the connection has ended

  void run_worker();
  bool take_lead();
  void give_lead(bool ended);
  void set_ready() {
    MutexLock lock(mutex);
    ready = true;
    changed.notify_all();
  }
  // True when it happens within the time.
  bool wait_ready(long limit_ms) {
    MutexLock lock(mutex);
    for (long waited = 0; !ready && waited < limit_ms; waited += 20) changed.wait_for_us(mutex, 20'000);
    return ready;
  }
  bool wait_workers_ended(long limit_ms) {
    MutexLock lock(mutex);
    for (long waited = 0; running > 0 && waited < limit_ms; waited += 20) changed.wait_for_us(mutex, 20'000);
    return running == 0;
  }
};

namespace {

using Impl = Session::Impl;

// --- the device ---

ssize_t read_device(int fd, void* buf, std::size_t size, void* userdata) {
  ssize_t n = ::read(fd, buf, size);
  auto* impl = static_cast<Impl*>(userdata);
  if (!impl->init_sent.load(std::memory_order_acquire) && n >= static_cast<ssize_t>(kInHeaderSize + 16)) [[unlikely]] {
    const auto* bytes = static_cast<const std::uint8_t*>(buf);
    if (get_le32(bytes + 4) == kOpcodeInit) {
      impl->init_unique = get_le64(bytes + 8);
      impl->init_offered = get_le32(bytes + kInHeaderSize + kInitFlagsOffset);
    }
  }
  return n;
}

// Adds to the INIT reply what libfuse can't say. Fast mode's passthrough flags belong here too.
ssize_t write_init_reply(int fd, iovec* iov, int count, Impl& impl) {
  impl.init_sent.store(true, std::memory_order_release);
  Bytes body(static_cast<const std::uint8_t*>(iov[1].iov_base),
             static_cast<const std::uint8_t*>(iov[1].iov_base) + iov[1].iov_len);
  std::uint32_t flags = get_le32(body.data() + kInitFlagsOffset);
  // With it the kernel asks nobody for security.capability before a write, and clears no mode bits by SETATTR.
  put_le32(body.data() + kInitFlagsOffset, flags | (impl.init_offered & kHandleKillprivV2));
  iovec edited[2] = {iov[0], {body.data(), body.size()}};
  ssize_t n = ::writev(fd, edited, count);
  impl.set_ready();
  return n;
}

ssize_t write_device(int fd, iovec* iov, int count, void* userdata) {
  auto& impl = *static_cast<Impl*>(userdata);
  if (!impl.init_sent.load(std::memory_order_acquire) && count == 2 && iov[0].iov_len == 16 &&
      iov[1].iov_len >= kInitFlagsOffset + 4 &&
      get_le64(static_cast<const std::uint8_t*>(iov[0].iov_base) + 8) == impl.init_unique) [[unlikely]] {
    return write_init_reply(fd, iov, count, impl);
  }
  return ::writev(fd, iov, count);
}

// --- libfuse's callbacks ---

Impl& impl_of(fuse_req_t req) { return *static_cast<Impl*>(fuse_req_userdata(req)); }
Operations& begin(fuse_req_t req, Op op) {
  Operations& ops = *impl_of(req).ops;
  ops.count(op);
  return ops;
}
Request own(fuse_req_t req) { return Request(impl_of(req).sink, req); }
bool in_root(fuse_req_t req, fuse_ino_t parent) {
  if (parent == kRootIno) return true;
  fuse_reply_err(req, ENOTDIR);
  return false;
}
void refuse(fuse_req_t req, int errno_value) {
  begin(req, Op::kOther);
  fuse_reply_err(req, errno_value);
}

void on_init(void* userdata, fuse_conn_info* conn) {
  // Locks stay in the kernel: neither POSIX nor flock locks are announced (the largest gain there is).
  conn->want &= ~static_cast<unsigned>(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_AUTO_INVAL_DATA |
                                       FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                                       FUSE_CAP_SPLICE_MOVE | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                                       FUSE_CAP_ATOMIC_O_TRUNC);  // O_TRUNC comes as a SETATTR, which can be parked
  conn->want |= conn->capable & static_cast<unsigned>(FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_PARALLEL_DIROPS |
                                                      FUSE_CAP_ASYNC_READ | FUSE_CAP_NO_OPENDIR_SUPPORT);
  conn->max_write = 1u << 20;
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Operations& ops = begin(req, Op::kLookup);
  if (in_root(req, parent)) ops.lookup(own(req), name);
}
void on_forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t lookups) {
  begin(req, Op::kForget).forget(ino, lookups);
  fuse_reply_none(req);
}
void on_forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) {
  Operations& ops = begin(req, Op::kForget);
  for (std::size_t i = 0; i < count; ++i) ops.forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}
void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  begin(req, Op::kGetattr).getattr(own(req), ino, fi != nullptr ? fi->fh : 0);
}
void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* attr, int to_set, fuse_file_info* fi) {
  SetAttr set;
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) set.size_bytes = static_cast<std::uint64_t>(attr->st_size);
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0)
    set.mtime = timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
  else if ((to_set & FUSE_SET_ATTR_MTIME) != 0)
    set.mtime = attr->st_mtim;
  begin(req, Op::kSetattr).setattr(own(req), ino, fi != nullptr ? fi->fh : 0, set);
}
void on_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  Operations& ops = begin(req, Op::kCreate);
  if (in_root(req, parent)) ops.create(own(req), name, fi->flags);
}
void on_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  begin(req, Op::kOpen).open(own(req), ino, fi->flags);
}
void on_read(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset, fuse_file_info* fi) {
  begin(req, Op::kRead).read(own(req), fi->fh, size, static_cast<std::uint64_t>(offset));
}
void on_write(fuse_req_t req, fuse_ino_t ino, const char* buf, std::size_t size, off_t offset, fuse_file_info* fi) {
  ByteView data(reinterpret_cast<const std::uint8_t*>(buf), size);
  begin(req, Op::kWrite).write(own(req), fi->fh, data, static_cast<std::uint64_t>(offset));
}
void on_flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) { begin(req, Op::kFlush).flush(own(req), fi->fh); }
void on_release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  begin(req, Op::kRelease).release(own(req), fi->fh);
}
void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, fuse_file_info* fi) {
  begin(req, Op::kFsync).fsync(own(req), fi->fh, datasync != 0);
}
void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Operations& ops = begin(req, Op::kUnlink);
  if (in_root(req, parent)) ops.unlink(own(req), name);
}
void on_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
               unsigned flags) {
  Operations& ops = begin(req, Op::kRename);
  if (in_root(req, parent) && in_root(req, new_parent)) ops.rename(own(req), name, new_name, flags);
}
void on_opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  begin(req, Op::kOpendir);
  fuse_reply_err(req, ENOSYS);  // the kernel then opens directories by itself and never asks again
}
void on_readdir(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset, fuse_file_info* fi) {
  begin(req, Op::kReaddir).readdir(own(req), size, static_cast<std::uint64_t>(offset));
}
void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, fuse_file_info* fi) {
  begin(req, Op::kFsyncdir).fsyncdir(own(req));
}
void on_statfs(fuse_req_t req, fuse_ino_t ino) { begin(req, Op::kStatfs).statfs(own(req)); }
void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) { refuse(req, EPERM); }
// Never ENOSYS: after that the kernel would use MKNOD + OPEN for every file it creates.
void on_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t dev) { refuse(req, EPERM); }
void on_symlink(fuse_req_t req, const char* link, fuse_ino_t parent, const char* name) { refuse(req, EPERM); }
void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) { refuse(req, EPERM); }

// What is missing is answered ENOSYS by libfuse, and the kernel then stops asking: xattrs, access, fallocate, poll, …
fuse_lowlevel_ops make_ops() {
  fuse_lowlevel_ops ops{};
  ops.init = on_init;
  ops.lookup = on_lookup;
  ops.forget = on_forget;
  ops.forget_multi = on_forget_multi;
  ops.getattr = on_getattr;
  ops.setattr = on_setattr;
  ops.create = on_create;
  ops.open = on_open;
  ops.read = on_read;
  ops.write = on_write;
  ops.flush = on_flush;
  ops.release = on_release;
  ops.fsync = on_fsync;
  ops.unlink = on_unlink;
  ops.rename = on_rename;
  ops.opendir = on_opendir;
  ops.readdir = on_readdir;
  ops.fsyncdir = on_fsyncdir;
  ops.statfs = on_statfs;
  ops.mkdir = on_mkdir;
  ops.mknod = on_mknod;
  ops.symlink = on_symlink;
  ops.link = on_link;
  return ops;
}

void log_libfuse(fuse_log_level level, const char* format, va_list args) {
  char text[1024];
  std::vsnprintf(text, sizeof text, format, args);
  std::string_view line = text;
  while (line.ends_with('\n')) line.remove_suffix(1);
  log_record(level <= FUSE_LOG_ERR ? LogLevel::kWarn : LogLevel::kInfo, fmt::format("libfuse: {}", line));
}

// --- mounting ---

Result<int> open_device() {
  int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd >= 0) return fd;
  if (errno == ENOENT || errno == ENXIO) {
    return from_errno(errno, "open /dev/fuse (give the container the device: --device /dev/fuse)");
  }
  return from_errno(errno, "open /dev/fuse");
}

Status mount_device(int fd, const SessionOptions& o) {
  std::string data = fmt::format("fd={},rootmode=40000,user_id={},group_id={}", fd, ::getuid(), ::getgid());
  if (o.allow_other) data += ",allow_other";
  if (o.default_permissions) data += ",default_permissions";
  if (::mount("caddis", o.dir.c_str(), "fuse.caddis", MS_NOSUID | MS_NODEV, data.c_str()) == 0) return {};
  if (errno == EPERM) return from_errno(errno, "mount {} (needs root, CAP_SYS_ADMIN in a container)", o.dir);
  return from_errno(errno, "mount {}", o.dir);
}

}  // namespace

namespace {

// Requests that may wait for the disk. Large reads and writes too: pages that are not cached, dirty limits.
bool may_take_long(const fuse_buf& buf) {
  constexpr std::size_t kLarge = 64 * 1024;
  constexpr std::size_t kReadSizeOffset = kInHeaderSize + 16;  // fuse_read_in {u64 fh, u64 offset, u32 size, …}
  const auto* bytes = static_cast<const std::uint8_t*>(buf.mem);
  switch (get_le32(bytes + 4)) {
    case 4:   // SETATTR
    case 10:  // UNLINK
    case 12:  // RENAME
    case 20:  // FSYNC
    case 30:  // FSYNCDIR
    case 35:  // CREATE
    case 45:  // RENAME2
      return true;
    case 15:  // READ
      return buf.size >= kReadSizeOffset + 4 && get_le32(bytes + kReadSizeOffset) >= kLarge;
    case 16:  // WRITE
      return buf.size >= kLarge;
    default:
      return false;
  }
}

}  // namespace

// One worker reads the device and answers short requests itself: waking another thread costs as much as the request
// (two readers take turns, and a commit in WAL mode took 15 us in place of 10). Before a long request it lets another
// worker lead, so that nobody waits behind a sync.
void Session::Impl::run_worker() {
  fuse_buf buf{};
  while (take_lead()) {
    for (;;) {
      int n = fuse_session_exited(session) != 0 ? 0 : fuse_session_receive_buf(session, &buf);
      if (n == -EINTR || n == -EAGAIN) continue;
      if (n <= 0) {
        give_lead(true);
        break;
      }
      bool handed_over = may_take_long(buf);
      if (handed_over) give_lead(false);
      fuse_session_process_buf(session, &buf);
      if (handed_over) break;
    }
  }
  std::free(buf.mem);
  MutexLock lock(mutex);
  --running;
  changed.notify_all();
}

bool Session::Impl::take_lead() {
  MutexLock lock(mutex);
  while (has_leader && !over) leaderless.wait(mutex);
  if (over) return false;
  has_leader = true;
  return true;
}

void Session::Impl::give_lead(bool ended) {
  MutexLock lock(mutex);
  has_leader = false;
  over = over || ended;
  if (ended)
    leaderless.notify_all();
  else
    leaderless.notify_one();
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() { stop(); }

Result<std::unique_ptr<Session>> Session::start(const SessionOptions& options, Operations& ops) {
  auto impl = std::make_unique<Impl>();
  Impl& i = *impl;
  i.options = options;
  i.ops = &ops;
  TRY_ASSIGN(int fd, open_device());
  fuse_set_log_func(log_libfuse);
  std::string program = "caddis", debug = "-odebug";
  char* argv[] = {program.data(), debug.data()};
  fuse_args args = FUSE_ARGS_INIT(options.debug ? 2 : 1, argv);
  static const fuse_lowlevel_ops kOps = make_ops();
  i.session = fuse_session_new(&args, &kOps, sizeof kOps, &i);
  fuse_opt_free_args(&args);
  static const fuse_custom_io kIo{
      .writev = write_device, .read = read_device, .splice_receive = nullptr, .splice_send = nullptr};
  if (i.session == nullptr || fuse_session_custom_io(i.session, &kIo, fd) != 0) {
    ::close(fd);
    return make_error(ErrorCode::kInternal, "libfuse refused its session");
  }
  if (Status mounted = mount_device(fd, options); !mounted) {
    fuse_session_destroy(i.session);
    return std::unexpected(std::move(mounted).error());
  }
  if (std::vector<MountEntry> here = mounts_at(options.dir); !here.empty()) i.device_minor = here.back().device_minor;

  sigset_t all, before;  // signals are the main thread's business
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  {
    MutexLock lock(i.mutex);
    i.running = options.threads;
  }
  for (int n = 0; n < options.threads; ++n) i.workers.emplace_back([&i] { i.run_worker(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);

  auto session = std::unique_ptr<Session>(new Session(std::move(impl)));
  if (!session->impl_->wait_ready(5000)) {
    return make_error(ErrorCode::kTimeout, "mount {}: the kernel sent no INIT within 5 s", options.dir);
  }
  return session;
}

void Session::stop() {
  if (!impl_ || impl_->stopped) return;
  Impl& i = *impl_;
  i.stopped = true;
  const char* dir = i.options.dir.c_str();
  // Plain first: it waits for nothing that is open and writes back what apps have mapped.
  if (::umount2(dir, UMOUNT_NOFOLLOW) != 0 && errno == EBUSY) {
    fuse_session_exit(i.session);
    if (!abort_connection(i.device_minor)) ::umount2(dir, MNT_FORCE | UMOUNT_NOFOLLOW);
    ::umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW);
  }
  // Workers end with the connection. A copy of the mount in another namespace keeps that alive: abort it.
  if (!i.wait_workers_ended(500)) {
    fuse_session_exit(i.session);
    abort_connection(i.device_minor);
  }
  if (!i.wait_workers_ended(2000)) {
    log_warn("a FUSE worker did not end; its connection is left open", {{"dir", i.options.dir}});
    for (std::thread& t : i.workers) t.detach();
    impl_.release();  // the workers still use it
    return;
  }
  for (std::thread& t : i.workers) t.join();
  i.workers.clear();
  fuse_session_destroy(i.session);  // closes the device
  i.session = nullptr;
}

void Session::invalidate_inode(std::uint64_t ino) { fuse_lowlevel_notify_inval_inode(impl_->session, ino, 0, 0); }

void Session::invalidate_attributes(std::uint64_t ino) {
  fuse_lowlevel_notify_inval_inode(impl_->session, ino, -1, 0);  // a negative offset: attributes only
}

void Session::invalidate_entry(const std::string& name) {
  fuse_lowlevel_notify_inval_entry(impl_->session, kRootIno, name.c_str(), name.size());
}

}  // namespace caddis::fuse
