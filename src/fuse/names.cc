#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "base/log.h"
#include "fuse/files.h"

namespace caddis::fuse {
namespace {

// How long the kernel may believe a name or its absence: names come and go only through the kernel itself, except
// -pos and -lock (with their database) and .primary (with the role).
constexpr double kNameTimeoutS = 3600;

std::optional<db::PartKind> part_of(NameKind kind) {
  switch (kind) {
    case NameKind::kWal:
      return db::PartKind::kWal;
    case NameKind::kShm:
      return db::PartKind::kShm;
    case NameKind::kJournal:
      return db::PartKind::kJournal;
    default:
      return std::nullopt;
  }
}

NodeKind node_kind(db::PartKind part) {
  switch (part) {
    case db::PartKind::kDatabase:
      return NodeKind::kDatabase;
    case db::PartKind::kWal:
      return NodeKind::kWal;
    case db::PartKind::kShm:
      return NodeKind::kShm;
    case db::PartKind::kJournal:
      return NodeKind::kJournal;
  }
  return NodeKind::kPlain;
}

// A plain file that SQLite may be about to use.
Result<bool> is_empty_or_database(os::Dir& dir, std::string_view name) {
  TRY_ASSIGN(std::unique_ptr<os::File> file, dir.open(name, os::OpenMode::kRead));
  std::uint8_t first[16] = {};
  TRY_ASSIGN(std::size_t have, file->pread(first, 0));
  return have == 0 || has_sqlite_magic(as_text({first, have}));
}

std::unexpected<Error> refused(int errno_value, std::string text) {
  ErrorCode code = errno_value == ENOENT ? ErrorCode::kNotFound : ErrorCode::kDenied;
  return std::unexpected(Error(code, std::move(text), errno_value));
}

}  // namespace

// --- what a name is ---

MountedDatabasePtr Files::mounted(const std::shared_ptr<db::Database>& database) {
  MountedDatabasePtr& slot = mounted_[database->name()];
  if (!slot || slot->database != database) {
    slot = std::make_shared<MountedDatabase>(database);
    attacher_.attach(slot);
  }
  return slot;
}

std::optional<Files::Found> Files::resolve(std::string_view name) {
  FileName parsed = classify(name);
  switch (parsed.kind) {
    case NameKind::kPrimary:
      if (!primary_hostname()) return std::nullopt;
      return Found{NodeKind::kPrimary, nullptr, nullptr};
    case NameKind::kLag:
      return Found{NodeKind::kLag, nullptr, nullptr};
    case NameKind::kReserved:
      return std::nullopt;
    case NameKind::kFile:
    case NameKind::kLocal:
      break;
    default: {
      std::shared_ptr<db::Database> database = engine_.find(parsed.base);
      if (!database) {
        // A journal or WAL that came before its database (cp app.db*).
        bool orphan = is_part(parsed.kind) && engine_.scratch().info(name).has_value();
        return orphan ? std::optional(Found{NodeKind::kPlain, nullptr, nullptr}) : std::nullopt;
      }
      if (parsed.kind == NameKind::kPos) return Found{NodeKind::kPos, mounted(database), nullptr};
      if (parsed.kind == NameKind::kLock) return Found{NodeKind::kLock, mounted(database), nullptr};
      db::PartKind part = *part_of(parsed.kind);
      db::PartFile file = database->part(part);
      if (!file) return std::nullopt;
      return Found{node_kind(part), mounted(database), file};
    }
  }
  if (parsed.kind == NameKind::kFile) {
    if (std::shared_ptr<db::Database> database = engine_.find(name)) {
      if (db::PartFile file = database->part(db::PartKind::kDatabase)) {
        return Found{NodeKind::kDatabase, mounted(database), file};
      }
    }
  }
  Result<os::FileInfo> info = engine_.scratch().info(name);
  if (!info || info->is_dir) return std::nullopt;
  return Found{NodeKind::kPlain, nullptr, nullptr};
}

void Files::lookup(Request req, std::string_view name) {
  if (name.size() > 255) return req.error(ENAMETOOLONG);
  NodePtr node;
  {
    MutexLock lock(names_mutex_);
    if (std::optional<Found> found = resolve(name)) node = nodes_.obtain(name, found->kind, found->db, found->file);
  }
  if (!node) {
    NameKind kind = classify(name).kind;
    bool appears_by_itself = !is_part(kind) && kind != NameKind::kFile && kind != NameKind::kLocal;
    if (appears_by_itself) return req.error(ENOENT);
    req.entry(Entry{.attr = {}, .entry_timeout_s = kNameTimeoutS});
    return;
  }
  Entry entry = entry_of(*node, nodes_.file_of(*node));
  entry.entry_timeout_s = node->kind() == NodeKind::kPrimary ? 0 : kNameTimeoutS;
  if (!req.entry(entry)) nodes_.forget(node->ino(), 1);
}

void Files::forget(std::uint64_t ino, std::uint64_t lookups) { nodes_.forget(ino, lookups); }

void Files::attach_existing() {
  for (const std::shared_ptr<db::Database>& database : engine_.databases()) {
    MutexLock lock(names_mutex_);
    mounted(database);
  }
}

// --- CREATE ---

Result<Files::Created> Files::create_plain(std::string_view name, int flags) {
  if (std::optional<Found> found = resolve(name); found && found->kind == NodeKind::kDatabase) {
    if ((flags & O_EXCL) != 0) return make_error(ErrorCode::kExists, "{} exists", name);
    if (!engine_.writable()) return refused(EACCES, fmt::format("{}: this node is not primary", name));
    return Created{nodes_.obtain(name, NodeKind::kDatabase, found->db, found->file), found->file};
  }
  os::OpenMode mode = os::OpenMode::kCreate;
  if ((flags & O_EXCL) != 0)
    mode = os::OpenMode::kCreateNew;
  else if ((flags & O_TRUNC) != 0)
    mode = os::OpenMode::kTruncate;
  TRY_ASSIGN(std::unique_ptr<os::File> opened_file, engine_.scratch().open(name, mode));
  scratch_names_changed_.store(true, std::memory_order_release);
  db::PartFile file = std::move(opened_file);
  NodePtr node = nodes_.obtain(name, NodeKind::kPlain, nullptr, file);
  return Created{node, nodes_.file_of(*node)};
}

Result<Files::Created> Files::create_part(std::string_view name, const FileName& parsed, int flags) {
  db::PartKind part = *part_of(parsed.kind);
  // -wal and -shm may be made anywhere: without them SQLite can't even read a database in WAL mode.
  if (part == db::PartKind::kJournal && !engine_.writable()) {
    return refused(EACCES, fmt::format("{}: this node is not primary", name));
  }
  MountedDatabasePtr db;
  if (std::shared_ptr<db::Database> database = engine_.find(parsed.base)) {
    db = mounted(database);
  } else if (!engine_.scratch().info(parsed.base)) {
    return create_plain(name, flags);  // copied before its database: adopt() finds it
  } else if (part == db::PartKind::kShm) {
    return refused(ENOENT, fmt::format("{}: there is no database {}", name, parsed.base));
  } else {
    TRY_ASSIGN(bool could_be, is_empty_or_database(engine_.scratch(), parsed.base));
    if (!could_be) {
      log_warn("a journal was to be made for a file that is no SQLite database", {{"file", std::string(parsed.base)}});
      return refused(EACCES, fmt::format("{} is no SQLite database", parsed.base));
    }
    TRY_ASSIGN(db, adopt(std::string(parsed.base)));
  }
  if ((flags & O_EXCL) != 0 && db->database->part(part)) return make_error(ErrorCode::kExists, "{} exists", name);
  TRY_ASSIGN(db::PartFile file, db->database->create_part(part, (flags & O_TRUNC) != 0));
  return Created{nodes_.obtain(name, node_kind(part), db, file), file};
}

Result<Files::Created> Files::create_any(std::string_view name, int flags) {
  if (name.size() > 255) return refused(ENAMETOOLONG, std::string(name));
  FileName parsed = classify(name);
  MutexLock lock(names_mutex_);
  if (parsed.kind == NameKind::kFile || parsed.kind == NameKind::kLocal) return create_plain(name, flags);
  if (is_part(parsed.kind)) return create_part(name, parsed, flags);
  // Never ENOSYS: the kernel would then use MKNOD for ever.
  return refused(EPERM, fmt::format("{} is made by caddis", name));
}

void Files::create(Request req, std::string_view name, int flags) {
  Result<Created> created = create_any(name, flags);
  if (!created) return req.error(to_errno(created.error()));
  Entry entry = entry_of(*created->node, created->file);
  entry.entry_timeout_s = kNameTimeoutS;
  std::uint64_t ino = created->node->ino();
  Opened handle = opened(std::move(created->node), std::move(created->file), (flags & O_ACCMODE) != O_RDONLY);
  if (req.created(entry, handle)) return;
  delete reinterpret_cast<Handle*>(handle.fh);
  nodes_.forget(ino, 1);
}

// A plain file has proved to be a database. The kernel's inode stays, its file moves under dbs/NAME/.
Result<MountedDatabasePtr> Files::adopt(const std::string& name) {
  if (!engine_.writable()) return refused(EACCES, fmt::format("{}: this node is not primary", name));
  NodePtr node = nodes_.current(name);
  if (node && node->kind() != NodeKind::kPlain) return refused(ENOENT, name);
  db::PartFile file;
  if (node) {
    TRY_ASSIGN(file, plain_file(*node));
  } else {
    TRY_ASSIGN(std::unique_ptr<os::File> opened_file, engine_.scratch().open(name, os::OpenMode::kReadWrite));
    file = std::move(opened_file);
  }
  TRY_ASSIGN(std::shared_ptr<db::Database> database, engine_.adopt(name, name, file));
  scratch_names_changed_.store(true, std::memory_order_release);
  auto db = std::make_shared<MountedDatabase>(database);
  mounted_[name] = db;
  if (node) nodes_.become_database(*node, db);
  attacher_.attach(db);  // after the node has turned: the attacher looks at it
  TRY(adopt_orphans(*database));
  database_appeared();
  return db;
}

// -journal and -wal that were there before their database become its parts; a copied -shm means nothing.
Status Files::adopt_orphans(db::Database& database) {
  for (auto [suffix, part] : {std::pair<std::string_view, db::PartKind>{"-journal", db::PartKind::kJournal},
                              {"-wal", db::PartKind::kWal},
                              {"-shm", db::PartKind::kShm}}) {
    std::string orphan = database.name() + std::string(suffix);
    if (!engine_.scratch().info(orphan)) continue;
    if (part == db::PartKind::kShm)
      TRY(engine_.scratch().unlink(orphan));
    else
      TRY(engine_.adopt_part(database, part, orphan));
    NodePtr gone = nodes_.drop_name(orphan, true);
    if (!gone) continue;
    attacher_.post([this, orphan, gone] {
      if (Session* s = session_.load()) s->invalidate_entry(orphan);
      nodes_.kernel_knows(*gone);
    });
  }
  return {};
}

void Files::database_appeared() {
  attacher_.post([this] {
    if (Session* s = session_.load()) s->invalidate_inode(kRootIno);
  });
}

// --- UNLINK ---

void Files::unlink(Request req, std::string_view name) {
  FileName parsed = classify(name);
  std::optional<Found> found;
  {
    MutexLock lock(names_mutex_);
    found = resolve(name);
    if (found && found->kind == NodeKind::kPlain) {
      Status removed = engine_.scratch().unlink(name);
      if (!removed) return req.error(to_errno(removed.error()));
      scratch_names_changed_.store(true, std::memory_order_release);
      nodes_.drop_name(name, false);
      return req.ok();
    }
  }
  // The kernel asks only for names that it has found: this one went with its database a moment ago, behind its back. To
  // SQLite, which has just seen the file, ENOENT would be an I/O error.
  if (!found) return req.error(is_part(parsed.kind) ? 0 : ENOENT);
  if (is_virtual(found->kind)) return req.error(EPERM);
  bool needs_primary = found->kind == NodeKind::kDatabase || found->kind == NodeKind::kJournal;
  if (needs_primary && !engine_.writable()) return req.error(EACCES);
  if (found->kind == NodeKind::kDatabase) return drop_database(std::move(req), name, std::move(found->db));
  unlink_part(std::move(req), name, parsed, std::move(found->db));
}

void Files::unlink_part(Request req, std::string_view name, const FileName& parsed, MountedDatabasePtr db) {
  db::PartKind part = *part_of(parsed.kind);
  db::Database& database = *db->database;
  auto done = [this, req = std::move(req), name = std::string(name), part, db](Status status) mutable {
    if (!status) return req.error(to_errno(status.error()));
    NodePtr node = nodes_.drop_name(name, false);
    // Before the kernel hears of it, and so before there can be a new -shm: the peer must not read the old one.
    if (part == db::PartKind::kShm && node) attacher_.shm_unlinked(db, node->ino());
    req.ok();
  };
  database.remove(part, std::move(done));
}

void Files::drop_database(Request req, std::string_view name, MountedDatabasePtr db) {
  db::Database& database = *db->database;
  auto done = [this, req = std::move(req), name = std::string(name), db](Status status) mutable {
    if (!status) return req.error(to_errno(status.error()));
    static constexpr std::string_view kSuffixes[] = {"-journal", "-wal", "-shm", "-pos", "-lock"};
    std::vector<NodePtr> gone;
    {
      MutexLock lock(names_mutex_);
      nodes_.drop_name(name, false);
      for (std::string_view suffix : kSuffixes) {
        if (NodePtr node = nodes_.drop_name(name + std::string(suffix), true)) gone.push_back(std::move(node));
      }
      if (auto it = mounted_.find(name); it != mounted_.end() && it->second == db) mounted_.erase(it);
    }
    // The names can't be taken from the kernel now: it holds the directory for this UNLINK. But it can be made to ask.
    if (Session* s = session_.load()) {
      for (const NodePtr& node : gone) s->invalidate_attributes(node->ino());
    }
    attacher_.detach(db);
    attacher_.post([this, name, gone = std::move(gone)] {
      Session* s = session_.load();
      for (std::string_view suffix : kSuffixes) {
        if (s != nullptr) s->invalidate_entry(name + std::string(suffix));
      }
      for (const NodePtr& node : gone) nodes_.kernel_knows(*node);
    });
    log_info("database dropped", {{"db", name}});
    req.ok();
  };
  database.remove(db::PartKind::kDatabase, std::move(done));
}

// --- RENAME ---

// A name that a file can be moved to or away from.
static bool may_be_plain(NameKind kind) { return kind == NameKind::kFile || kind == NameKind::kLocal; }

Result<MountedDatabasePtr> Files::rename_plain(std::string_view from, std::string_view to, unsigned flags) {
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) return refused(EINVAL, "rename flags");
  FileName from_name = classify(from), to_name = classify(to);
  MutexLock lock(names_mutex_);
  std::optional<Found> source = resolve(from), target = resolve(to);
  if (!source) return refused(ENOENT, std::string(from));
  bool plain = source->kind == NodeKind::kPlain && may_be_plain(from_name.kind) && may_be_plain(to_name.kind) &&
               (!target || target->kind == NodeKind::kPlain);
  if (!plain) {
    log_warn("databases and their files can't be renamed",
             {{"from", std::string(from)},
              {"to", std::string(to)},
              {"cure", fmt::format("caddis import -name {} FILE replaces a database by a file", to_name.base)}});
    return refused(EPERM, fmt::format("rename {} to {}", from, to));
  }
  if (target && (flags & RENAME_NOREPLACE) != 0) return make_error(ErrorCode::kExists, "{} exists", to);
  // Its content may be a database already (rsync and others write aside, then rename): then it becomes one here.
  bool becomes_database = false;
  if (to_name.kind == NameKind::kFile) {
    TRY_ASSIGN(os::FileInfo info, engine_.scratch().info(from));
    TRY_ASSIGN(bool could_be, is_empty_or_database(engine_.scratch(), from));
    becomes_database = could_be && info.size_bytes > 0;
    if (becomes_database && !engine_.writable()) return refused(EACCES, fmt::format("{}: not primary", to));
  }
  TRY(engine_.scratch().rename(from, to));
  scratch_names_changed_.store(true, std::memory_order_release);
  nodes_.rename(from, to);
  if (!becomes_database) return MountedDatabasePtr();
  return adopt(std::string(to));
}

void Files::rename(Request req, std::string_view from, std::string_view to, unsigned flags) {
  Result<MountedDatabasePtr> renamed = rename_plain(from, to, flags);
  if (!renamed) return req.error(to_errno(renamed.error()));
  if (!*renamed) return req.ok();
  // Taken in as what a raw writer has written; rename() returns when it is captured.
  db::Database& database = *(*renamed)->database;
  database.flush(db::PartKind::kDatabase, database.part(db::PartKind::kDatabase),
                 [req = std::move(req)](Status status) mutable { req.error(status ? 0 : to_errno(status.error())); });
}

// --- READDIR ---

// NAME-pos and NAME-lock are found by name and not listed: a program that copies NAME* (a backup script, SQLite's own
// tests) would copy the position into a file that cannot be written.
void Files::readdir(Request req, std::size_t size_limit, std::uint64_t cookie) {
  std::vector<DirEntry> names;
  auto add = [&names](std::string name, std::uint32_t mode) { names.push_back({std::move(name), 0, mode}); };
  add(".", S_IFDIR);
  add("..", S_IFDIR);
  add(".lag", S_IFREG);
  if (primary_hostname()) add(".primary", S_IFREG);
  for (const std::shared_ptr<db::Database>& database : engine_.databases()) {
    const std::string& name = database->name();
    if (!database->part(db::PartKind::kDatabase)) continue;
    add(name, S_IFREG);
    if (database->part(db::PartKind::kJournal)) add(name + "-journal", S_IFREG);
    if (database->part(db::PartKind::kShm)) add(name + "-shm", S_IFREG);
    if (database->part(db::PartKind::kWal)) add(name + "-wal", S_IFREG);
  }
  std::size_t databases_end = names.size();
  Result<std::vector<std::string>> plain = engine_.scratch().list();
  if (!plain) return req.error(to_errno(plain.error()));
  for (std::string& name : *plain) {
    auto same = [&name](const DirEntry& e) { return e.name == name; };
    if (std::none_of(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(databases_end), same)) {
      add(std::move(name), S_IFREG);
    }
  }
  req.dir(cookies_.after(std::move(names), cookie), size_limit);
}

// Super-journals are names in the scratch directory, journals in the database's: both are part of a commit.
void Files::fsyncdir(Request req) {
  bool scratch_too = scratch_names_changed_.exchange(false);
  Status synced = engine_.sync_names(scratch_too);
  if (!synced && scratch_too) scratch_names_changed_.store(true);
  req.error(synced ? 0 : to_errno(synced.error()));
}

// --- the kernel's cache ---

void Files::invalidate(const std::string& file_name) {
  attacher_.post([this, file_name] {
    Session* s = session_.load();
    NodePtr node = nodes_.current(file_name);
    if (s != nullptr && node) s->invalidate_inode(node->ino());
  });
}

void Files::role_changed() {
  attacher_.post([this] {
    Session* s = session_.load();
    if (s == nullptr) return;
    s->invalidate_entry(".primary");
    s->invalidate_inode(kRootIno);
    for (std::uint64_t ino : nodes_.inodes()) s->invalidate_attributes(ino);
  });
}

}  // namespace caddis::fuse
