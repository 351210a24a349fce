#include "db/sqlite_on_engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>

#include "sqlite/wal_index.h"

namespace caddis::db {
namespace {

struct Context {
  Engine* engine = nullptr;
  std::vector<std::move_only_function<void()>>* pool = nullptr;
  std::string lock_path;
  std::map<std::string, std::shared_ptr<os::File>> plain;  // scratch files by name
};

// The wal-index of the system's VFS, as the mount shows it.
class FileView final : public MountView {
 public:
  FileView(std::string shm_path, std::string lock_file)
      : shm_path_(std::move(shm_path)), lock_file_(std::move(lock_file)) {}
  bool read_wal_index(ByteSpan out) override {
    int fd = ::open(shm_path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = ::pread(fd, out.data(), out.size(), 0);
    ::close(fd);  // OFD-free file: closing drops no lock of ours, SQLite's are on the same process's other descriptors
    return got == static_cast<ssize_t>(out.size());
  }
  bool app_holds_lock() override { return false; }
  bool try_lock_shared() override { return true; }
  void unlock_shared() override {}

 private:
  std::string shm_path_;
  std::string lock_file_;
};

struct VfsFile {
  sqlite3_file base;
  Context* context;
  std::shared_ptr<Database>* database;  // null for plain files that are no database yet
  PartKind kind;
  PartFile* file;
  std::string* name;
  sqlite3_file* locks;    // the system's file that carries locks and wal-index
  const char* lock_name;  // its name, which the system's VFS points into
  bool is_plain;
};

VfsFile* self_of(sqlite3_file* f) { return reinterpret_cast<VfsFile*>(f); }

void run_pool(std::vector<std::move_only_function<void()>>& pool) {
  for (auto& job : std::exchange(pool, {})) job();
}

Status wait_for(Context& context, const std::function<void(Reply)>& call) {
  Engine& engine = *context.engine;
  Status result;
  bool done = false;
  call([&](Status s) {
    result = std::move(s);
    done = true;
  });
  for (int i = 0; i < 100000 && !done; ++i) {
    engine.step();
    if (i % 20 == 19) run_pool(*context.pool);
  }
  if (!done) return make_error(ErrorCode::kTimeout, "no answer");
  return result;
}

int code_of(const Status& status, int otherwise) {
  if (status) return SQLITE_OK;
  if (getenv("CADDIS_TEST_TRACE") != nullptr) fmt::print("{}: {}\n", otherwise, status.error().message());
  return status.error().code() == ErrorCode::kNoSpace ? SQLITE_FULL : otherwise;
}

int x_close(sqlite3_file* f) {
  VfsFile* self = self_of(f);
  if (self->kind == PartKind::kDatabase && *self->database != nullptr) {
    (void)wait_for(*self->context, [&](Reply r) { (*self->database)->flush(self->kind, *self->file, std::move(r)); });
  }
  if (self->locks != nullptr) {
    self->locks->pMethods->xClose(self->locks);
    sqlite3_free(self->locks);
    sqlite3_free_filename(self->lock_name);
  }
  delete self->database;
  delete self->file;
  delete self->name;
  return SQLITE_OK;
}

int x_read(sqlite3_file* f, void* out, int n, sqlite3_int64 at) {
  VfsFile* self = self_of(f);
  ByteSpan span(static_cast<std::uint8_t*>(out), static_cast<std::size_t>(n));
  Result<std::size_t> got = (*self->file)->pread(span, static_cast<std::uint64_t>(at));
  if (!got) return SQLITE_IOERR_READ;
  if (*got == span.size()) return SQLITE_OK;
  std::memset(span.data() + *got, 0, span.size() - *got);
  return SQLITE_IOERR_SHORT_READ;
}

// A plain file becomes a database when it shows SQLite's magic; its -journal may have proved it already.
Status adopt_if_magic(VfsFile* self, ByteView data, std::uint64_t at) {
  if (self->is_plain && self->kind == PartKind::kDatabase) {
    if (std::shared_ptr<Database> db = self->context->engine->find(*self->name)) {
      *self->database = std::move(db);
      self->is_plain = false;
    }
  }
  if (!self->is_plain || self->kind != PartKind::kDatabase || at != 0 || data.size() < 16) return {};
  if (std::memcmp(data.data(), "SQLite format 3", 16) != 0) return {};
  if (!validate_name(*self->name)) return {};  // the temporary database of a VACUUM
  TRY_ASSIGN(*self->database, self->context->engine->adopt(*self->name, *self->name, *self->file));
  self->context->plain.erase(*self->name);
  self->is_plain = false;
  return {};
}

int x_write(sqlite3_file* f, const void* in, int n, sqlite3_int64 at) {
  VfsFile* self = self_of(f);
  ByteView data(static_cast<const std::uint8_t*>(in), static_cast<std::size_t>(n));
  auto offset = static_cast<std::uint64_t>(at);
  Status done = adopt_if_magic(self, data, offset);
  if (done && self->is_plain)
    done = (*self->file)->pwrite(data, offset);
  else if (done) {
    done = wait_for(*self->context,
                    [&](Reply r) { (*self->database)->write(self->kind, *self->file, data, offset, std::move(r)); });
  }
  return code_of(done, SQLITE_IOERR_WRITE);
}

int x_truncate(sqlite3_file* f, sqlite3_int64 size) {
  VfsFile* self = self_of(f);
  auto bytes = static_cast<std::uint64_t>(size);
  if (self->is_plain) return code_of((*self->file)->truncate(bytes), SQLITE_IOERR_TRUNCATE);
  Status done = wait_for(*self->context,
                         [&](Reply r) { (*self->database)->truncate(self->kind, *self->file, bytes, std::move(r)); });
  return code_of(done, SQLITE_IOERR_TRUNCATE);
}

int x_sync(sqlite3_file* f, int) {
  VfsFile* self = self_of(f);
  // The system's VFS syncs the directory with the first sync of a new journal, super-journal or WAL.
  bool has_name_to_keep = self->kind != PartKind::kDatabase || self->is_plain;
  if (has_name_to_keep && !self->context->engine->sync_names()) return SQLITE_IOERR_DIR_FSYNC;
  if (self->is_plain) return code_of((*self->file)->sync(), SQLITE_IOERR_FSYNC);
  Status done =
      wait_for(*self->context, [&](Reply r) { (*self->database)->sync(self->kind, *self->file, true, std::move(r)); });
  return code_of(done, SQLITE_IOERR_FSYNC);
}

int x_file_size(sqlite3_file* f, sqlite3_int64* size) {
  Result<std::uint64_t> bytes = (*self_of(f)->file)->size_bytes();
  if (!bytes) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(*bytes);
  return SQLITE_OK;
}

sqlite3_file* locks_of(sqlite3_file* f) { return self_of(f)->locks; }
int x_lock(sqlite3_file* f, int level) { return locks_of(f)->pMethods->xLock(locks_of(f), level); }
int x_unlock(sqlite3_file* f, int level) { return locks_of(f)->pMethods->xUnlock(locks_of(f), level); }
int x_reserved(sqlite3_file* f, int* out) { return locks_of(f)->pMethods->xCheckReservedLock(locks_of(f), out); }
int x_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int x_sector(sqlite3_file*) { return 4096; }
int x_character(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int x_shm_map(sqlite3_file* f, int region, int size, int extend, void volatile** out) {
  VfsFile* self = self_of(f);
  if (*self->database != nullptr && (*self->database)->part(PartKind::kShm) == nullptr) {
    if (!(*self->database)->create_part(PartKind::kShm, false)) return SQLITE_IOERR_SHMOPEN;
    std::string path = self->context->lock_path + "/" + *self->name;
    (*self->database)->set_view(std::make_shared<FileView>(path + "-shm", path));
  }
  return self->locks->pMethods->xShmMap(self->locks, region, size, extend, out);
}
int x_shm_lock(sqlite3_file* f, int at, int n, int flags) {
  return locks_of(f)->pMethods->xShmLock(locks_of(f), at, n, flags);
}
void x_shm_barrier(sqlite3_file* f) { locks_of(f)->pMethods->xShmBarrier(locks_of(f)); }
int x_shm_unmap(sqlite3_file* f, int remove) {
  VfsFile* self = self_of(f);
  if (remove != 0 && *self->database != nullptr && (*self->database)->part(PartKind::kShm) != nullptr) {
    (void)wait_for(*self->context, [&](Reply r) { (*self->database)->remove(PartKind::kShm, std::move(r)); });
  }
  return self->locks->pMethods->xShmUnmap(self->locks, remove);
}

const sqlite3_io_methods kMethods = {
    2,         x_close,  x_read,      x_write,   x_truncate, x_sync,        x_file_size, x_lock,  x_unlock, x_reserved,
    x_control, x_sector, x_character, x_shm_map, x_shm_lock, x_shm_barrier, x_shm_unmap, nullptr, nullptr};

struct Target {
  std::string name;  // of the database, or of the plain file
  PartKind kind = PartKind::kDatabase;
};

Target target_of(std::string_view path) {
  std::string_view base = path.substr(path.rfind('/') + 1);
  for (auto [suffix, kind] :
       {std::pair<std::string_view, PartKind>{"-wal", PartKind::kWal}, {"-journal", PartKind::kJournal}}) {
    if (base.ends_with(suffix)) return {std::string(base.substr(0, base.size() - suffix.size())), kind};
  }
  return {std::string(base), PartKind::kDatabase};
}

Context& context_of(sqlite3_vfs* vfs) { return *static_cast<Context*>(vfs->pAppData); }

Result<std::shared_ptr<os::File>> open_plain(Context& context, const std::string& name, bool create) {
  if (auto it = context.plain.find(name); it != context.plain.end()) return it->second;
  TRY_ASSIGN(std::shared_ptr<os::File> file,
             context.engine->scratch().open(name, create ? os::OpenMode::kCreate : os::OpenMode::kReadWrite));
  context.plain[name] = file;
  return file;
}

// A -journal or -wal proves that NAME is a database.
Status adopt_plain(Context& context, const std::string& name) {
  if (context.engine->find(name) != nullptr) return {};
  TRY_ASSIGN(std::shared_ptr<os::File> file, open_plain(context, name, false));
  TRY(context.engine->adopt(name, name, file));
  context.plain.erase(name);
  return {};
}

int x_open(sqlite3_vfs* vfs, const char* path, sqlite3_file* f, int flags, int* out_flags) {
  Context& context = context_of(vfs);
  VfsFile* self = self_of(f);
  self->base.pMethods = nullptr;
  std::string plain_name = path == nullptr ? "etilqs_temp" + std::to_string(context.plain.size()) : "";
  Target target = path == nullptr ? Target{plain_name, PartKind::kDatabase} : target_of(path);
  bool main_db = (flags & SQLITE_OPEN_MAIN_DB) != 0;
  bool part = target.kind != PartKind::kDatabase;
  std::shared_ptr<Database> db;
  PartFile file;
  bool create = (flags & SQLITE_OPEN_CREATE) != 0 || path == nullptr;
  if (part) {
    if (!adopt_plain(context, target.name)) return SQLITE_CANTOPEN;
    db = context.engine->find(target.name);
    file = db->part(target.kind);
    if (file == nullptr && create) file = db->create_part(target.kind, false).value_or(nullptr);
  } else if ((db = context.engine->find(target.name)) != nullptr) {
    file = db->part(PartKind::kDatabase);
  } else {
    file = open_plain(context, target.name, create).value_or(nullptr);
  }
  if (file == nullptr) return SQLITE_CANTOPEN;
  sqlite3_file* locks = nullptr;
  const char* lock_file = nullptr;
  if (main_db) {
    sqlite3_vfs* real = sqlite3_vfs_find("unix");
    locks = static_cast<sqlite3_file*>(sqlite3_malloc(real->szOsFile));
    std::memset(locks, 0, static_cast<std::size_t>(real->szOsFile));
    // The system's VFS keeps this pointer for the name of the wal-index.
    lock_file = sqlite3_create_filename((context.lock_path + "/" + target.name).c_str(), "", "", 0, nullptr);
    int rc =
        real->xOpen(real, lock_file, locks, SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    if (rc != SQLITE_OK) return rc;
  }
  bool plain = db == nullptr;
  *self = VfsFile{.base = {&kMethods},
                  .context = &context,
                  .database = new std::shared_ptr<Database>(std::move(db)),
                  .kind = target.kind,
                  .file = new PartFile(std::move(file)),
                  .name = new std::string(target.name),
                  .locks = locks,
                  .lock_name = lock_file,
                  .is_plain = plain};
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int x_delete(sqlite3_vfs* vfs, const char* path, int sync_dir) {
  Context& context = context_of(vfs);
  Target target = target_of(path);
  std::shared_ptr<Database> db = context.engine->find(target.name);
  if (db != nullptr && db->part(target.kind) != nullptr) {
    Status done = wait_for(context, [&](Reply r) { db->remove(target.kind, std::move(r)); });
    if (!done) return code_of(done, SQLITE_IOERR_DELETE);
  } else if (target.kind == PartKind::kDatabase && context.engine->scratch().unlink(target.name)) {
    context.plain.erase(target.name);
  } else {
    return SQLITE_IOERR_DELETE_NOENT;
  }
  if (sync_dir != 0 && !context.engine->sync_names()) return SQLITE_IOERR_DIR_FSYNC;
  return SQLITE_OK;
}

int x_access(sqlite3_vfs* vfs, const char* path, int, int* out) {
  Context& context = context_of(vfs);
  Target target = target_of(path);
  std::shared_ptr<Database> db = context.engine->find(target.name);
  PartFile file = db == nullptr ? nullptr : db->part(target.kind);
  bool there = file != nullptr;
  if (there && target.kind != PartKind::kDatabase) there = file->size_bytes().value_or(0) > 0;
  if (!there && target.kind == PartKind::kDatabase) there = context.engine->scratch().info(target.name).has_value();
  *out = there ? 1 : 0;
  return SQLITE_OK;
}

int x_full_path(sqlite3_vfs*, const char* path, int n, char* out) {
  sqlite3_snprintf(n, out, "%s%s", path[0] == '/' ? "" : "/", path);
  return SQLITE_OK;
}

}  // namespace

SqliteOnEngine::SqliteOnEngine(std::shared_ptr<os::Dir> data_dir, std::string lock_path, bool late)
    : lock_path_(std::move(lock_path)) {
  static std::atomic<int> counter{0};
  engine_ = std::make_unique<Engine>(EngineOptions{.data_dir = std::move(data_dir),
                                                   .clock = &clock_,
                                                   .retention_interval_ms = 0,
                                                   .node_id = 1,
                                                   .offload = [this, late](std::move_only_function<void()> fn) {
                                                     if (late)
                                                       pool_.push_back(std::move(fn));
                                                     else
                                                       fn();
                                                   }});
  sqlite3_vfs* real = sqlite3_vfs_find("unix");
  vfs_ = std::make_unique<sqlite3_vfs>(*real);
  vfs_name_ = "engine" + std::to_string(++counter);
  vfs_->zName = vfs_name_.c_str();
  vfs_->szOsFile = sizeof(VfsFile);
  vfs_->pAppData = new Context{engine_.get(), &pool_, lock_path_, {}};
  vfs_->xOpen = x_open;
  vfs_->xDelete = x_delete;
  vfs_->xAccess = x_access;
  vfs_->xFullPathname = x_full_path;
  vfs_->pNext = nullptr;
  sqlite3_vfs_register(vfs_.get(), 0);
}

SqliteOnEngine::~SqliteOnEngine() {
  sqlite3_vfs_unregister(vfs_.get());
  delete static_cast<Context*>(vfs_->pAppData);
}

sqlite3* SqliteOnEngine::open(const std::string& name) {
  sqlite3* db = nullptr;
  sqlite3_open_v2(name.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs_name_.c_str());
  return db;
}

void SqliteOnEngine::step() {
  for (int i = 0; i < 50; ++i) {
    std::int64_t us = engine_->step();
    run_pool(pool_);
    if (us < 0) return;
    if (us > 0) engine_->wait(us);
  }
}

}  // namespace caddis::db
