// The seam between the FUSE protocol (session.cc, the only place that knows libfuse) and what the requests mean
// (Files).
#pragma once

#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace caddis::fuse {

inline constexpr std::uint64_t kRootIno = 1;

enum class Op : std::uint8_t {
  kLookup,
  kForget,
  kGetattr,
  kSetattr,
  kCreate,
  kOpen,
  kRead,
  kWrite,
  kFlush,
  kRelease,
  kFsync,
  kUnlink,
  kRename,
  kOpendir,
  kReaddir,
  kFsyncdir,
  kStatfs,
  kOther,
  kCount,
};
std::string_view op_name(Op op);  // "lookup", …: the label of caddis_fuse_requests_total

struct Attr {
  std::uint64_t ino = 0;
  std::uint32_t mode = 0;  // with the S_IFMT bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 1;
  std::uint64_t size_bytes = 0;
  std::uint64_t blocks_512 = 0;
  timespec mtime{};
  double timeout_s = 0;  // how long the kernel may believe this
};

struct Entry {
  Attr attr;  // ino 0: the name does not exist, to be believed for entry_timeout_s
  double entry_timeout_s = 0;
};

struct Opened {
  std::uint64_t fh = 0;
  bool direct_io = false;   // FOPEN_DIRECT_IO
  bool keep_cache = false;  // FOPEN_KEEP_CACHE
  bool noflush = false;     // FOPEN_NOFLUSH: close() sends no FLUSH
};

struct DirEntry {
  std::string name;
  std::uint64_t cookie = 0;  // where the next READDIR goes on
  std::uint32_t mode = 0;
};

struct SetAttr {
  std::optional<std::uint64_t> size_bytes;
  std::optional<timespec> mtime;  // tv_nsec == UTIME_NOW: now
};

// Sends replies. The functions that hand an inode or a handle to the kernel return false when it did not take it (the
// request was interrupted): the caller then takes it back.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  virtual void reply_error(void* raw, int errno_value) = 0;
  virtual bool reply_entry(void* raw, const Entry& entry) = 0;
  virtual bool reply_create(void* raw, const Entry& entry, const Opened& opened) = 0;
  virtual bool reply_open(void* raw, const Opened& opened) = 0;
  virtual void reply_attr(void* raw, const Attr& attr) = 0;
  virtual void reply_data(void* raw, ByteView data) = 0;
  virtual void reply_written(void* raw, std::size_t bytes) = 0;
  virtual void reply_statfs(void* raw, const struct statvfs& st) = 0;
  virtual void reply_dir(void* raw, const std::vector<DirEntry>& entries, std::size_t size_limit) = 0;
};

// One request of the kernel, answered exactly once, from any thread. Not answered when destroyed: EIO.
class Request {
 public:
  Request(ReplySink& sink, void* raw) : sink_(&sink), raw_(raw) {}
  Request(Request&& other) noexcept : sink_(other.sink_), raw_(std::exchange(other.raw_, nullptr)) {}
  Request& operator=(Request&& other) = delete;
  ~Request() {
    if (raw_ != nullptr) sink_->reply_error(raw_, EIO);
  }
  void error(int errno_value) { sink_->reply_error(take(), errno_value); }  // 0: done
  void ok() { error(0); }
  bool entry(const Entry& e) { return sink_->reply_entry(take(), e); }
  bool created(const Entry& e, const Opened& o) { return sink_->reply_create(take(), e, o); }
  bool opened(const Opened& o) { return sink_->reply_open(take(), o); }
  void attr(const Attr& a) { sink_->reply_attr(take(), a); }
  void data(ByteView d) { sink_->reply_data(take(), d); }
  void written(std::size_t bytes) { sink_->reply_written(take(), bytes); }
  void statfs(const struct statvfs& st) { sink_->reply_statfs(take(), st); }
  void dir(const std::vector<DirEntry>& entries, std::size_t size_limit) {
    sink_->reply_dir(take(), entries, size_limit);
  }

 private:
  void* take() { return std::exchange(raw_, nullptr); }
  ReplySink* sink_;
  void* raw_;
};

// The mount is one flat directory: names are always children of the root. Called on FUSE workers; an implementation
// does local disk work and keeps the Request for later when it would have to wait.
class Operations {
 public:
  virtual ~Operations() = default;
  virtual void count(Op op) = 0;  // every request, before its handler
  virtual void lookup(Request req, std::string_view name) = 0;
  virtual void forget(std::uint64_t ino, std::uint64_t lookups) = 0;
  virtual void getattr(Request req, std::uint64_t ino, std::uint64_t fh) = 0;                      // fh 0: none
  virtual void setattr(Request req, std::uint64_t ino, std::uint64_t fh, const SetAttr& set) = 0;  // fh 0: none
  virtual void create(Request req, std::string_view name, int flags) = 0;
  virtual void open(Request req, std::uint64_t ino, int flags) = 0;
  virtual void read(Request req, std::uint64_t fh, std::size_t size, std::uint64_t offset) = 0;
  virtual void write(Request req, std::uint64_t fh, ByteView data, std::uint64_t offset) = 0;
  virtual void flush(Request req, std::uint64_t fh) = 0;
  virtual void release(Request req, std::uint64_t fh) = 0;
  virtual void fsync(Request req, std::uint64_t fh, bool data_only) = 0;
  virtual void unlink(Request req, std::string_view name) = 0;
  virtual void rename(Request req, std::string_view from, std::string_view to, unsigned flags) = 0;
  virtual void readdir(Request req, std::size_t size_limit, std::uint64_t cookie) = 0;
  virtual void fsyncdir(Request req) = 0;
  virtual void statfs(Request req) = 0;
};

}  // namespace caddis::fuse
