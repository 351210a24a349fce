// What the kernel knows about: inodes by number (never used twice) and the current inode of a name. A name that is
// unlinked and made again is another inode, because RELEASE of the old one may come after CREATE of the new one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "db/database.h"
#include "fuse/operations.h"

namespace caddis::fuse {

class View;  // attacher.h

enum class NodeKind : std::uint8_t {
  kRoot,
  kDatabase,
  kWal,
  kShm,
  kJournal,
  kPlain,
  kPos,
  kLock,
  kPrimary,
  kLag,
};
inline bool is_virtual(NodeKind kind) { return kind >= NodeKind::kPos; }

// What this mount keeps for one db::Database.
//
// -shm and the peer: the peer reads the wal-index through a descriptor that the attacher opens after the app has made
// -shm. Until it is open no frame may reach -wal, or a commit would be missed: such writes are parked here (kPending).
class MountedDatabase {
 public:
  enum class Shm : std::uint8_t {
    kNone,      // no -shm, or shorter than a page
    kPending,   // there is one, the attacher is on its way
    kReadable,  // the view has it
  };
  explicit MountedDatabase(std::shared_ptr<db::Database> d) : database(std::move(d)) {}

  const std::shared_ptr<db::Database> database;
  std::atomic<Shm> shm{Shm::kNone};

  std::atomic<std::uint64_t> shm_ino{0};  // the -shm that the view has or shall have; written under the mutex

  Mutex mutex;
  std::shared_ptr<View> view GUARDED_BY(mutex);
  std::vector<std::move_only_function<void()>> parked GUARDED_BY(mutex);  // writes to -wal, in order
  bool dropped GUARDED_BY(mutex) = false;
};
using MountedDatabasePtr = std::shared_ptr<MountedDatabase>;

class Node {
 public:
  Node(std::uint64_t ino, NodeKind kind, std::string name, MountedDatabasePtr db, db::PartFile file)
      : ino_(ino), kind_(kind), name_(std::move(name)), db_(std::move(db)), file_(std::move(file)) {}
  std::uint64_t ino() const { return ino_; }
  NodeKind kind() const { return kind_.load(std::memory_order_acquire); }
  // For every kind that belongs to a database; null for the others.
  const MountedDatabasePtr& mounted() const { return db_; }
  // Taken away behind the kernel's back (a part of a dropped database) and the kernel does not know yet: an OPEN or
  // GETATTR must look the name up again (ESTALE).
  bool stale() const { return stale_.load(std::memory_order_acquire); }
  std::atomic<bool> unlinked{false};

 private:
  friend class NodeTable;
  const std::uint64_t ino_;
  std::atomic<NodeKind> kind_;  // changes once: plain to database, after db_ was set
  std::string name_;            // guarded by the table's mutex
  MountedDatabasePtr db_;
  db::PartFile file_;          // of a plain file: null until the first open. Guarded by the table's mutex
  std::uint64_t lookups_ = 0;  // guarded by the table's mutex
  std::atomic<bool> stale_{false};
};
using NodePtr = std::shared_ptr<Node>;

// Any thread.
class NodeTable {
 public:
  NodeTable();
  NodePtr root() const { return root_; }
  NodePtr find(std::uint64_t ino) const;         // null when forgotten
  NodePtr current(std::string_view name) const;  // the inode of a name, null when the kernel does not know it

  // The inode of `name` if it is of this kind, database and (for parts) file; else a new one takes the name. One more
  // lookup is counted: the kernel gets it with the reply.
  NodePtr obtain(std::string_view name, NodeKind kind, const MountedDatabasePtr& db, const db::PartFile& file);
  void forget(std::uint64_t ino, std::uint64_t lookups);
  // The name is gone; the inode stays for those who have it open. `behind_kernel`: no UNLINK told the kernel, so the
  // inode is stale until kernel_knows(). Returns the inode that had the name, or null.
  NodePtr drop_name(std::string_view name, bool behind_kernel);
  void kernel_knows(Node& node) { node.stale_.store(false, std::memory_order_release); }
  void rename(std::string_view from, std::string_view to);  // an inode that had `to` loses it
  void become_database(Node& node, MountedDatabasePtr db);

  std::string name_of(const Node& node) const;
  db::PartFile file_of(const Node& node) const;
  // The file of a plain node; `open` is called with its current name when it is not open yet.
  Result<db::PartFile> open_file(Node& node, const std::function<Result<db::PartFile>(const std::string&)>& open);
  std::vector<std::uint64_t> inodes() const;  // all but the root

 private:
  mutable Mutex mutex_;
  std::uint64_t next_ino_ GUARDED_BY(mutex_) = kRootIno + 1;
  std::unordered_map<std::uint64_t, NodePtr> by_ino_ GUARDED_BY(mutex_);
  std::map<std::string, NodePtr, std::less<>> by_name_ GUARDED_BY(mutex_);
  NodePtr root_;
};

// Positions in a directory that others change while it is read: every name keeps its number as long as it exists, new
// names get higher ones, so that READDIR neither repeats nor leaves out a name that was there all the time.
class DirectoryCookies {
 public:
  // `names`: everything that exists now. Returns those after `cookie` in cookie order. Any thread.
  std::vector<DirEntry> after(std::vector<DirEntry> names, std::uint64_t cookie);

 private:
  Mutex mutex_;
  std::uint64_t next_ GUARDED_BY(mutex_) = 1;
  std::map<std::string, std::uint64_t, std::less<>> cookies_ GUARDED_BY(mutex_);
};

}  // namespace caddis::fuse
