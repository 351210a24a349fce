#include <fcntl.h>

#include "base/log.h"
#include "fuse/files.h"

namespace caddis::fuse {
namespace {

Handle& handle_of(std::uint64_t fh) { return *reinterpret_cast<Handle*>(fh); }

std::optional<db::PartKind> part_of(NodeKind kind) {
  switch (kind) {
    case NodeKind::kDatabase:
      return db::PartKind::kDatabase;
    case NodeKind::kWal:
      return db::PartKind::kWal;
    case NodeKind::kShm:
      return db::PartKind::kShm;
    case NodeKind::kJournal:
      return db::PartKind::kJournal;
    default:
      return std::nullopt;
  }
}

}  // namespace

// What a node that is not primary refuses, so that SQLite says "attempt to write a readonly database". -shm stays
// writable (readers set their marks in it); -wal opens for writing (SQLite needs that to read) but takes no frame.
Status Files::may_write(const Node& node, bool opening) const {
  if (engine_.writable()) return {};
  switch (node.kind()) {
    case NodeKind::kWal:
      if (opening) return {};
      [[fallthrough]];
    case NodeKind::kDatabase:
    case NodeKind::kJournal:
      return std::unexpected(Error(ErrorCode::kReadOnly, "this node is not primary", EACCES));
    default:
      return {};
  }
}

// --- OPEN and RELEASE ---

Result<db::PartFile> Files::plain_file(Node& node) {
  return nodes_.open_file(node, [this](const std::string& name) -> Result<db::PartFile> {
    TRY_ASSIGN(std::unique_ptr<os::File> file, engine_.scratch().open(name, os::OpenMode::kReadWrite));
    return db::PartFile(std::move(file));
  });
}

// How the kernel treats the file is a function of its kind: opens of one inode must not differ.
Opened Files::opened(NodePtr node, db::PartFile file, bool for_writing) {
  Opened o;
  switch (node->kind()) {
    case NodeKind::kDatabase:
    case NodeKind::kPlain:  // may become a database while it is open
      o.keep_cache = true;
      o.noflush = !for_writing;  // FLUSH ends what cp or dd has written
      break;
    case NodeKind::kWal:
      o.direct_io = options_.wal_direct;
      o.keep_cache = !options_.wal_direct;
      o.noflush = true;
      break;
    case NodeKind::kShm:
      o.keep_cache = true;
      o.noflush = true;
      break;
    case NodeKind::kJournal:  // written in pieces that straddle pages, which a cache would split; read at a rollback
                              // only
      o.direct_io = true;
      o.noflush = true;
      break;
    default:
      o.direct_io = true;
      o.noflush = true;
      break;
  }
  auto handle = std::make_unique<Handle>();
  handle->node = std::move(node);
  handle->file = std::move(file);
  handle->writable = for_writing;
  o.fh = reinterpret_cast<std::uint64_t>(handle.release());
  return o;
}

void Files::open(Request req, std::uint64_t ino, int flags) {
  NodePtr node = nodes_.find(ino);
  if (!node || node->stale()) return req.error(ESTALE);  // the kernel then looks the name up again
  bool for_writing = (flags & O_ACCMODE) != O_RDONLY;
  if (for_writing) {
    if (Status may = may_write(*node, true); !may) return req.error(to_errno(may.error()));
  }
  db::PartFile file = nodes_.file_of(*node);
  if (node->kind() == NodeKind::kPlain && !file) {
    Result<db::PartFile> opened_file = plain_file(*node);
    if (!opened_file) return req.error(to_errno(opened_file.error()));
    file = std::move(*opened_file);
  }
  Opened handle = opened(std::move(node), std::move(file), for_writing);
  if (!req.opened(handle)) delete &handle_of(handle.fh);
}

void Files::release(Request req, std::uint64_t fh) {
  delete &handle_of(fh);
  req.ok();
}

// --- READ ---

void Files::read(Request req, std::uint64_t fh, std::size_t size, std::uint64_t offset) {
  Handle& handle = handle_of(fh);
  if (!handle.file) return read_virtual(std::move(req), handle, size, offset);
  thread_local Bytes buffer;
  if (buffer.size() < size) buffer.resize(size);
  Result<std::size_t> n = handle.file->pread(ByteSpan(buffer.data(), size), offset);
  if (!n) {
    log_error("read for " + nodes_.name_of(*handle.node), n.error());
    return req.error(to_errno(n.error()));
  }
  req.data({buffer.data(), *n});
}

// --- WRITE ---

void Files::write(Request req, std::uint64_t fh, ByteView data, std::uint64_t offset) {
  Handle& handle = handle_of(fh);
  NodeKind kind = handle.node->kind();
  if (kind == NodeKind::kPlain) return write_plain(std::move(req), handle, data, offset);
  std::optional<db::PartKind> part = part_of(kind);
  if (!part) return req.error(EIO);
  if (Status may = may_write(*handle.node, false); !may) return req.error(to_errno(may.error()));
  write_part(std::move(req), handle, *part, data, offset);
}

void Files::write_part(Request req, const Handle& handle, db::PartKind part, ByteView data, std::uint64_t offset) {
  const MountedDatabasePtr& db = handle.node->mounted();
  std::size_t size = data.size();
  auto reply = [req = std::move(req), size](Status status) mutable {
    if (status)
      req.written(size);
    else
      req.error(to_errno(status.error()));
  };
  if (part == db::PartKind::kWal && db->shm.load(std::memory_order_acquire) == MountedDatabase::Shm::kPending) {
    MutexLock lock(db->mutex);
    if (db->shm.load(std::memory_order_relaxed) == MountedDatabase::Shm::kPending) {
      db->parked.push_back(
          [db, file = handle.file, copy = Bytes(data.begin(), data.end()), offset, reply = std::move(reply)]() mutable {
            db->database->write(db::PartKind::kWal, file, copy, offset, std::move(reply));
          });
      return;
    }
  }
  if (part == db::PartKind::kShm) note_shm_size(*handle.node, offset + size);
  db->database->write(part, handle.file, data, offset, std::move(reply));
}

// -shm has its first page: the peer must see it before the next frame. The attacher opens it when this write is
// answered.
void Files::note_shm_size(const Node& node, std::uint64_t size_bytes) {
  if (node.kind() != NodeKind::kShm || size_bytes < kShmPageSize) return;
  const MountedDatabasePtr& db = node.mounted();
  if (db->shm_ino.load(std::memory_order_acquire) == node.ino()) return;
  if (node.unlinked.load(std::memory_order_acquire)) return;  // late write-back of one that is gone
  attacher_.shm_appeared(db, node.ino());
}

Result<bool> Files::write_makes_database(const Handle& handle, ByteView data, std::uint64_t offset) {
  if (offset >= 16 || handle.node->unlinked.load(std::memory_order_acquire)) return false;
  std::uint8_t first[16] = {};
  TRY(handle.file->pread(first, 0));
  std::copy_n(data.begin(), std::min<std::size_t>(data.size(), 16 - offset), first + offset);
  if (!has_sqlite_magic(as_text(first))) return false;
  return classify(nodes_.name_of(*handle.node)).kind == NameKind::kFile;
}

void Files::write_plain(Request req, const Handle& handle, ByteView data, std::uint64_t offset) {
  Result<bool> makes_database = write_makes_database(handle, data, offset);
  if (!makes_database) return req.error(to_errno(makes_database.error()));
  if (*makes_database) {
    Status adopted;
    {
      MutexLock lock(names_mutex_);
      if (handle.node->kind() == NodeKind::kPlain) {
        // What is there so far may be anything; with this write it begins as a database does.
        Result<MountedDatabasePtr> db = adopt(nodes_.name_of(*handle.node));
        if (!db) adopted = std::unexpected(std::move(db).error());
      }
    }
    if (!adopted) {
      log_error("take in " + nodes_.name_of(*handle.node) + " as a database", adopted.error());
      return req.error(to_errno(adopted.error()));
    }
    return write_part(std::move(req), handle, db::PartKind::kDatabase, data, offset);
  }
  Status done = handle.file->pwrite(data, offset);
  if (!done) return req.error(to_errno(done.error()));
  req.written(data.size());
}

// --- FLUSH and FSYNC ---

void Files::flush(Request req, std::uint64_t fh) {
  Handle& handle = handle_of(fh);
  if (handle.node->kind() != NodeKind::kDatabase || !handle.writable) return req.ok();
  handle.node->mounted()->database->flush(
      db::PartKind::kDatabase, handle.file,
      [req = std::move(req)](Status status) mutable { req.error(status ? 0 : to_errno(status.error())); });
}

void Files::fsync(Request req, std::uint64_t fh, bool data_only) {
  Handle& handle = handle_of(fh);
  if (!handle.file) return req.ok();
  std::optional<db::PartKind> part = part_of(handle.node->kind());
  if (!part) {
    Status done = data_only ? handle.file->datasync() : handle.file->sync();
    return req.error(done ? 0 : to_errno(done.error()));
  }
  handle.node->mounted()->database->sync(*part, handle.file, data_only, [req = std::move(req)](Status status) mutable {
    req.error(status ? 0 : to_errno(status.error()));
  });
}

}  // namespace caddis::fuse
