#include "db/engine.h"

#include <algorithm>

#include "base/log.h"
#include "db/capture.h"
#include "db/engine_state.h"
#include "db/log.h"
#include "db/recovery.h"

namespace caddis::db {
namespace {

constexpr std::int64_t kCloseWaitUs = 10'000'000;  // at a clean stop, for a disk that does not come back

}  // namespace

namespace {

bool is_super_journal(std::string_view name) {
  std::size_t at = name.rfind("-mj");
  if (at == std::string_view::npos || name.size() - at != 12) return false;
  return std::all_of(name.begin() + static_cast<std::ptrdiff_t>(at) + 3, name.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); });
}

}  // namespace

Status validate_name(std::string_view name) {
  if (name.empty() || name.size() > 247)
    return invalid("database name of {} bytes; 1 to 247 are possible", name.size());
  if (name.front() == '.') return invalid("database name \"{}\" begins with a dot", name);
  for (char c : name) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return invalid("database name with the byte 0x{:02x}, which is not possible", static_cast<unsigned char>(c));
    }
  }
  for (std::string_view suffix : {"-journal", "-wal", "-shm", "-pos", "-lock"}) {
    if (name.ends_with(suffix)) return invalid("database name \"{}\" ends in {}, which is reserved", name, suffix);
  }
  if (is_super_journal(name)) return invalid("\"{}\" is the name of an SQLite super-journal", name);
  if (name.starts_with("etilqs_")) return invalid("\"{}\" is the name of an SQLite temporary file", name);
  return {};
}

Engine::Engine(EngineOptions options) : options_(std::move(options)), state_(std::make_unique<State>()) {}
Engine::~Engine() = default;

Result<bool> Engine::is_empty_volume(os::Dir& data_dir) {
  Result<std::unique_ptr<os::Dir>> dbs = data_dir.open_dir("dbs");
  if (!dbs) {
    if (dbs.error().code() == ErrorCode::kNotFound) return true;
    return std::unexpected(std::move(dbs).error());
  }
  TRY_ASSIGN(std::vector<std::string> names, (*dbs)->list());
  Log log(**dbs);
  for (const std::string& name : names) {
    Result<std::unique_ptr<os::Dir>> dir = (*dbs)->open_dir(name);
    if (!dir) continue;  // a stray file
    Result<os::FileInfo> info = (*dir)->info("database");
    if (info && info->size_bytes > 0) return false;
    Result<std::vector<LogEntry>> entries = log.list(name);
    if (entries && !entries->empty()) return false;
  }
  return true;
}

Status Engine::open() {
  bool first_time = !options_.data_dir->info("dbs") || !options_.data_dir->info("caddis");
  TRY_ASSIGN(dbs_, options_.data_dir->make_dir("dbs"));
  TRY_ASSIGN(caddis_dir_, options_.data_dir->make_dir("caddis"));
  if (first_time) TRY(options_.data_dir->sync());  // what is made durable in them must not go with them
  TRY_ASSIGN(scratch_, caddis_dir_->make_dir("scratch"));
  TRY_ASSIGN(sums_, caddis_dir_->make_dir("sums"));
  TRY_ASSIGN(lost_, caddis_dir_->make_dir("lost"));
  TRY_ASSIGN(tmp_, caddis_dir_->make_dir("tmp"));
  TRY_ASSIGN(std::vector<std::string> leftovers, tmp_->list());
  for (const std::string& name : leftovers) TRY(tmp_->remove_tree(name));
  log_ = std::make_unique<Log>(*dbs_);
  TRY_ASSIGN(std::vector<std::string> names, dbs_->list());
  for (const std::string& name : names) {
    if (name == "lost+found") continue;
    Result<os::FileInfo> info = dbs_->info(name);
    if (!info || !info->is_dir || !validate_name(name)) {
      log_warn("not a database directory, left alone", {{"path", dbs_->path() + "/" + name}});
      continue;
    }
    Status opened = open_database(name);
    if (!opened) return std::unexpected(std::move(opened).error().context(fmt::format("open database {}", name)));
  }
  // After the databases: a super-journal decides about their hot journals, temporary files are nobody's any more.
  TRY_ASSIGN(std::vector<std::string> scratch, scratch_->list());
  for (const std::string& name : scratch) {
    if (name.starts_with("etilqs_")) (void)scratch_->unlink(name);
  }
  return {};
}

Status Engine::open_database(const std::string& name) {
  TRY_ASSIGN(std::shared_ptr<os::Dir> dir, dbs_->open_dir(name));
  std::shared_ptr<Database> db(new Database(*this, name, std::move(dir)));
  Recovery recovery(*db);
  TRY(recovery.boot());
  bool present = db->part(PartKind::kDatabase) != nullptr;
  if (!present) db->live_.store(false, std::memory_order_release);
  MutexLock lock(state_->mutex);
  (present ? state_->databases : state_->dropped)[name] = std::move(db);
  return {};
}

void Engine::offload(std::move_only_function<void()> work) {
  {
    MutexLock lock(state_->mutex);
    ++state_->offloaded;
  }
  options_.offload([this, work = std::move(work)]() mutable {
    work();
    MutexLock lock(state_->mutex);
    --state_->offloaded;
    state_->offload_done.notify_all();
  });
}

// Waits for pool threads, and does what they ask the peer to do, until nothing is left of either.
void Engine::finish_offloaded() {
  std::int64_t end = now_us() + kCloseWaitUs;
  for (;;) {
    std::deque<Job> jobs;
    {
      MutexLock lock(state_->mutex);
      while (state_->offloaded > 0 && now_us() < end) state_->offload_done.wait_for_us(state_->mutex, 100'000);
      jobs.swap(state_->jobs);
      if (jobs.empty()) return;
    }
    for (Job& job : jobs) job();
    start_sync();
  }
}

Status Engine::close() {
  finish_offloaded();
  for (const std::shared_ptr<Database>& db : databases()) {
    Recovery recovery(*db);
    Status closed = recovery.close();
    if (!closed)
      return std::unexpected(std::move(closed).error().context(fmt::format("close database {}", db->name())));
  }
  return {};
}

Status Engine::install_restored(const std::string& name, const std::string& tmp_name, Position position) {
  TRY(validate_name(name));
  TRY_ASSIGN(std::unique_ptr<os::Dir> caddis, options_.data_dir->make_dir("caddis"));
  TRY_ASSIGN(std::unique_ptr<os::Dir> tmp, caddis->make_dir("tmp"));
  TRY_ASSIGN(sums_, caddis->make_dir("sums"));
  TRY_ASSIGN(dbs_, options_.data_dir->make_dir("dbs"));
  TRY_ASSIGN(std::shared_ptr<os::Dir> dir, dbs_->make_dir(name));
  dbs_names_changed_.store(true, std::memory_order_release);
  std::shared_ptr<Database> db(new Database(*this, name, std::move(dir)));
  Recovery recovery(*db);
  TRY(recovery.install(*tmp, tmp_name, position));
  TRY(dbs_->sync());
  return options_.data_dir->sync();
}

std::vector<std::shared_ptr<Database>> Engine::databases() {
  MutexLock lock(state_->mutex);
  std::vector<std::shared_ptr<Database>> all;
  all.reserve(state_->databases.size());
  for (const auto& [name, db] : state_->databases) all.push_back(db);
  return all;
}

std::shared_ptr<Database> Engine::find(std::string_view name) {
  MutexLock lock(state_->mutex);
  auto it = state_->databases.find(name);
  return it == state_->databases.end() ? nullptr : it->second;
}

std::vector<std::pair<std::string, Position>> Engine::positions(bool with_dropped) {
  MutexLock lock(state_->mutex);
  std::map<std::string, Position> all;
  if (with_dropped) {
    for (const auto& [name, db] : state_->dropped) all[name] = db->position();
  }
  for (const auto& [name, db] : state_->databases) all[name] = db->position();
  return {all.begin(), all.end()};
}

Result<std::shared_ptr<Database>> Engine::adopt(const std::string& name, const std::string& scratch_name,
                                                PartFile file) {
  TRY(validate_name(name));
  if (find(name) != nullptr) return make_error(ErrorCode::kExists, "database {} exists", name);
  TRY_ASSIGN(std::shared_ptr<os::Dir> dir, dbs_->make_dir(name));
  dbs_names_changed_.store(true, std::memory_order_release);
  TRY_ASSIGN(std::unique_ptr<os::Dir> ltx_dir, dir->make_dir("ltx"));
  TRY(scratch_->rename(scratch_name, *dir, "database"));
  TRY_ASSIGN(std::uint64_t size, file->size_bytes());
  std::shared_ptr<Database> db(new Database(*this, name, std::move(dir)));
  db->names_changed_.store(true, std::memory_order_release);
  db->capture_->ltx_dir_ = std::move(ltx_dir);
  {
    MutexLock lock(db->mutex_);
    db->parts_[static_cast<std::size_t>(PartKind::kDatabase)] = std::move(file);
    if (size > 0) db->dirty_.push_back({0, size});
  }
  MutexLock lock(state_->mutex);
  if (auto old = state_->dropped.find(name); old != state_->dropped.end()) {
    // The peer has answered the drop, so its position stands still.
    db->capture_->position_ = old->second->capture_->position_;
    MutexLock db_lock(db->mutex_);
    db->position_ = db->capture_->position_;
  }
  state_->dropped.erase(name);
  state_->databases[name] = db;
  return db;
}

Status Engine::adopt_part(Database& db, PartKind kind, const std::string& scratch_name) {
  TRY(scratch_->rename(scratch_name, *db.dir_, part_file_name(kind)));
  TRY_ASSIGN(PartFile file, db.dir_->open(part_file_name(kind), os::OpenMode::kReadWrite));
  TRY_ASSIGN(std::uint64_t size, file->size_bytes());
  std::uint8_t first[8] = {};
  TRY(file->pread(first, 0));
  db.names_changed_.store(true, std::memory_order_release);
  MutexLock lock(db.mutex_);
  if (kind == PartKind::kWal) db.wal_end_.store(size, std::memory_order_release);
  if (kind == PartKind::kJournal) db.journal_live_ = get_be64(first) != 0;
  db.parts_[static_cast<std::size_t>(kind)] = std::move(file);
  return {};
}

void Engine::forget_dropped(const std::shared_ptr<Database>& db) {
  MutexLock lock(state_->mutex);
  state_->databases.erase(db->name());
  state_->dropped[db->name()] = db;
}

void Engine::set_writable(bool writable) { writable_.store(writable, std::memory_order_release); }
void Engine::add_sink(CommitSink* sink) { sinks_.push_back(sink); }
Status Engine::sync_dbs_dir() { return dbs_->sync(); }

Status Engine::sync_names(bool scratch_too) {
  for (const std::shared_ptr<Database>& db : databases()) {
    if (!db->names_changed_.exchange(false, std::memory_order_acq_rel)) continue;
    if (Status done = db->dir_->sync(); !done) {
      db->names_changed_.store(true, std::memory_order_release);
      return done;
    }
  }
  if (dbs_names_changed_.exchange(false, std::memory_order_acq_rel)) {
    if (Status done = dbs_->sync(); !done) {
      dbs_names_changed_.store(true, std::memory_order_release);
      return done;
    }
  }
  return scratch_too ? scratch_->sync() : Status();
}

void Engine::set_needed_from(const std::string& name, Txid txid) {
  MutexLock lock(state_->mutex);
  state_->needed_from[name] = txid;
}

}  // namespace caddis::db
