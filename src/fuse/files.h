// What the requests mean: the directory's names, and reads and writes of its files.
//   names.cc       LOOKUP, CREATE, UNLINK, RENAME, READDIR; a plain file becomes a database
//   attributes.cc  GETATTR, SETATTR, STATFS
//   data.cc        OPEN, READ, WRITE, FLUSH, RELEASE, FSYNC
//   virtual.cc     NAME-pos, .primary, .lag
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "base/mutex.h"
#include "db/engine.h"
#include "fuse/attacher.h"
#include "fuse/file_name.h"
#include "fuse/mount.h"
#include "fuse/nodes.h"
#include "fuse/operations.h"
#include "fuse/session.h"

namespace caddis::fuse {

// One open(); its address is the kernel's file handle.
struct Handle {
  NodePtr node;
  db::PartFile file;  // null for virtual files
  bool writable = false;
  Mutex mutex;
  std::string content GUARDED_BY(mutex);  // of a virtual file, as of the read at offset 0
};

// Permission bits as shown: the role and `user:` decide. Pure.
std::uint32_t mode_bits(NodeKind kind, bool writable, bool default_permissions);
std::string lag_text(std::int64_t lag_ms);            // "+000000000\n", 11 bytes
std::string position_text(const Position& position);  // "TXID/CHECKSUM\n", 34 bytes

class Files final : public Operations {
 public:
  Files(const MountOptions& options, db::Engine& engine, RoleInfo roles, Metrics& metrics, NodeTable& nodes,
        Attacher& attacher);
  // The attacher uses it for invalidation; set before it starts, null after it stopped.
  void set_session(Session* session) { session_.store(session); }
  void attach_existing();                         // every database the engine has
  void invalidate(const std::string& file_name);  // KernelCache
  void role_changed();

  void count(Op op) override { counters_[static_cast<std::size_t>(op)]->inc(); }
  void lookup(Request req, std::string_view name) override;
  void forget(std::uint64_t ino, std::uint64_t lookups) override;
  void getattr(Request req, std::uint64_t ino, std::uint64_t fh) override;
  void setattr(Request req, std::uint64_t ino, std::uint64_t fh, const SetAttr& set) override;
  void create(Request req, std::string_view name, int flags) override;
  void open(Request req, std::uint64_t ino, int flags) override;
  void read(Request req, std::uint64_t fh, std::size_t size, std::uint64_t offset) override;
  void write(Request req, std::uint64_t fh, ByteView data, std::uint64_t offset) override;
  void flush(Request req, std::uint64_t fh) override;
  void release(Request req, std::uint64_t fh) override;
  void fsync(Request req, std::uint64_t fh, bool data_only) override;
  void unlink(Request req, std::string_view name) override;
  void rename(Request req, std::string_view from, std::string_view to, unsigned flags) override;
  void readdir(Request req, std::size_t size_limit, std::uint64_t cookie) override;
  void fsyncdir(Request req) override;
  void statfs(Request req) override;

 private:
  struct Found {
    NodeKind kind;
    MountedDatabasePtr db;  // null for plain files, .primary, .lag
    db::PartFile file;      // parts only; a plain file is opened when it is used
  };
  struct Created {
    NodePtr node;
    db::PartFile file;
  };
  // names.cc
  std::optional<Found> resolve(std::string_view name) REQUIRES(names_mutex_);
  MountedDatabasePtr mounted(const std::shared_ptr<db::Database>& database) REQUIRES(names_mutex_);
  Result<Created> create_plain(std::string_view name, int flags) REQUIRES(names_mutex_);
  Result<Created> create_part(std::string_view name, const FileName& parsed, int flags) REQUIRES(names_mutex_);
  Result<Created> create_any(std::string_view name, int flags) EXCLUDES(names_mutex_);
  Result<MountedDatabasePtr> adopt(const std::string& name) REQUIRES(names_mutex_);
  Status adopt_orphans(db::Database& database);
  Result<MountedDatabasePtr> rename_plain(std::string_view from, std::string_view to, unsigned flags)
      EXCLUDES(names_mutex_);
  void unlink_part(Request req, std::string_view name, const FileName& parsed, MountedDatabasePtr db);
  void drop_database(Request req, std::string_view name, MountedDatabasePtr db);
  void database_appeared();  // the listing changed without the kernel's doing
  // attributes.cc
  Attr attr_of(const Node& node, const db::PartFile& file);
  Entry entry_of(const Node& node, const db::PartFile& file);
  Status set_plain(Node& node, const db::PartFile& open_file, const SetAttr& set);
  // data.cc
  Opened opened(NodePtr node, db::PartFile file, bool for_writing);
  Result<db::PartFile> plain_file(Node& node);
  Status may_write(const Node& node, bool opening) const;
  void write_part(Request req, const Handle& handle, db::PartKind part, ByteView data, std::uint64_t offset);
  void write_plain(Request req, const Handle& handle, ByteView data, std::uint64_t offset);
  Result<bool> write_makes_database(const Handle& handle, ByteView data, std::uint64_t offset);
  void note_shm_size(const Node& node, std::uint64_t size_bytes);
  // virtual.cc
  std::string virtual_content(NodeKind kind) const;
  void read_virtual(Request req, Handle& handle, std::size_t size, std::uint64_t offset);
  std::optional<std::string> primary_hostname() const;
  std::int64_t lag_ms() const;

  const MountOptions options_;
  db::Engine& engine_;
  const RoleInfo roles_;
  NodeTable& nodes_;
  Attacher& attacher_;
  std::atomic<Session*> session_{nullptr};
  std::array<MetricValue*, static_cast<std::size_t>(Op::kCount)> counters_{};
  const timespec started_;
  DirectoryCookies cookies_;
  std::atomic<bool> scratch_names_changed_{true};  // since FSYNCDIR last synced them

  // Makes "what is this name" and "this inode is it" one step. Held for local disk calls, never for what is parked.
  Mutex names_mutex_;
  std::map<std::string, MountedDatabasePtr, std::less<>> mounted_ GUARDED_BY(names_mutex_);
};

}  // namespace caddis::fuse
