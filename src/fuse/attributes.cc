#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fuse/files.h"

namespace caddis::fuse {
namespace {

// Sizes and times of these change only through the kernel, which then knows them itself.
constexpr double kAttrTimeoutS = 3600;

timespec from_ms(std::int64_t ms) {
  return {.tv_sec = static_cast<time_t>(ms / 1000), .tv_nsec = static_cast<long>(ms % 1000 * 1'000'000)};
}

}  // namespace

std::uint32_t mode_bits(NodeKind kind, bool writable, bool default_permissions) {
  std::uint32_t world = default_permissions ? 0770u : 0777u;
  switch (kind) {
    // Where the kernel enforces the bits, SQLite must still be able to make -wal and -shm; names.cc refuses the rest.
    case NodeKind::kRoot:
      return (writable || default_permissions ? 0777u : 0555u) & world;
    case NodeKind::kDatabase:
      return (writable ? 0666u : 0444u) & world;
    case NodeKind::kPrimary:
    case NodeKind::kLag:
      return 0444u & world;
    case NodeKind::kLock:
      return (default_permissions ? 0666u : 0444u) & world;  // must open read-write to be locked
    default:
      return 0666u & world;
  }
}

Attr Files::attr_of(const Node& node, const db::PartFile& file) {
  NodeKind kind = node.kind();
  Attr a;
  a.ino = node.ino();
  a.uid = options_.uid;
  a.gid = options_.gid;
  a.mode = mode_bits(kind, engine_.writable(), options_.default_permissions);
  a.mode |= kind == NodeKind::kRoot ? static_cast<std::uint32_t>(S_IFDIR) : static_cast<std::uint32_t>(S_IFREG);
  a.mtime = started_;
  a.nlink = kind == NodeKind::kRoot ? 2 : node.unlinked.load(std::memory_order_acquire) ? 0 : 1;
  // -wal and -shm will be written behind the kernel's back (passthrough, apply on a replica), and are stat()ed rarely.
  a.timeout_s = is_virtual(kind) || kind == NodeKind::kWal || kind == NodeKind::kShm ? 0 : kAttrTimeoutS;
  struct stat st{};
  if (file && file->fd() >= 0 && ::fstat(file->fd(), &st) == 0) {
    a.size_bytes = static_cast<std::uint64_t>(st.st_size);
    a.blocks_512 = static_cast<std::uint64_t>(st.st_blocks);
    a.mtime = st.st_mtim;
    return a;
  }
  switch (kind) {
    case NodeKind::kPlain:
      if (Result<os::FileInfo> info = engine_.scratch().info(nodes_.name_of(node))) {
        a.size_bytes = info->size_bytes;
        a.mtime = from_ms(info->mtime_ms);
      }
      break;
    case NodeKind::kPos:
      a.size_bytes = 34;
      a.mtime = from_ms(node.mounted()->database->last_commit_wall_ms());
      break;
    case NodeKind::kLag:
    case NodeKind::kPrimary:
      a.size_bytes = virtual_content(kind).size();
      break;
    default:
      break;
  }
  a.blocks_512 = (a.size_bytes + 511) / 512;
  return a;
}

Entry Files::entry_of(const Node& node, const db::PartFile& file) { return Entry{.attr = attr_of(node, file)}; }

void Files::getattr(Request req, std::uint64_t ino, std::uint64_t fh) {
  if (fh != 0) {
    const Handle& handle = *reinterpret_cast<Handle*>(fh);
    return req.attr(attr_of(*handle.node, handle.file));
  }
  NodePtr node = nodes_.find(ino);
  if (!node || node->stale()) return req.error(ESTALE);
  req.attr(attr_of(*node, nodes_.file_of(*node)));
}

Status Files::set_plain(Node& node, const db::PartFile& open_file, const SetAttr& set) {
  db::PartFile file = open_file;
  if (!file) {
    TRY_ASSIGN(file, plain_file(node));
  }
  if (set.size_bytes) TRY(file->truncate(*set.size_bytes));
  if (set.mtime) {
    timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, *set.mtime};
    if (::futimens(file->fd(), times) != 0) return from_errno(errno, "set the time of {}", nodes_.name_of(node));
  }
  return {};
}

// Owners, modes and (for databases) times are accepted and ignored, as LiteFS does: what they show is the role.
void Files::setattr(Request req, std::uint64_t ino, std::uint64_t fh, const SetAttr& set) {
  const Handle* handle = reinterpret_cast<Handle*>(fh);
  NodePtr node = handle != nullptr ? handle->node : nodes_.find(ino);
  if (!node) return req.error(ESTALE);
  db::PartFile file = handle != nullptr ? handle->file : nodes_.file_of(*node);
  NodeKind kind = node->kind();
  if (kind == NodeKind::kPlain) {
    Status done = set_plain(*node, file, set);
    if (!done) return req.error(to_errno(done.error()));
    return req.attr(attr_of(*node, nodes_.file_of(*node)));
  }
  if (!set.size_bytes) return req.attr(attr_of(*node, file));
  if (kind == NodeKind::kRoot || is_virtual(kind)) return req.error(EPERM);
  if (Status may = may_write(*node, false); !may) return req.error(to_errno(may.error()));
  std::uint64_t size_bytes = *set.size_bytes;
  db::PartKind part = kind == NodeKind::kDatabase ? db::PartKind::kDatabase
                      : kind == NodeKind::kWal    ? db::PartKind::kWal
                      : kind == NodeKind::kShm    ? db::PartKind::kShm
                                                  : db::PartKind::kJournal;
  db::Database& database = *node->mounted()->database;
  auto done = [this, req = std::move(req), node, file, size_bytes](Status status) mutable {
    if (!status) return req.error(to_errno(status.error()));
    note_shm_size(*node, size_bytes);
    req.attr(attr_of(*node, file));
  };
  database.truncate(part, file, size_bytes, std::move(done));
}

void Files::statfs(Request req) {
  struct statvfs st{};
  if (::statvfs(engine_.scratch().path().c_str(), &st) != 0) return req.error(errno);
  st.f_namemax = 255;
  req.statfs(st);
}

}  // namespace caddis::fuse
