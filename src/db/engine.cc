#include "db/engine.h"

#include <time.h>
#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "base/log.h"
#include "db/capture.h"
#include "db/log.h"
#include "db/recovery.h"
#include "db/snapshot_cow.h"

namespace caddis::db {
namespace {

constexpr std::int64_t kMaxPauseUs = 25'000;  // between two captures of a busy WAL
constexpr std::int64_t kPauseFactor = 10;     // a capture may use a tenth of a core
constexpr std::int64_t kMinIdleStepUs = 250;  // looking for the wal-index to follow a WAL write
constexpr std::int64_t kMaxIdleStepUs = 250'000;
constexpr std::int64_t kUnwatchAfterUs = 5'000;  // without anything uncaptured
constexpr std::int64_t kQuietUs = 10'000;        // journal-less writes: nothing written for so long is a boundary
constexpr std::int64_t kSnapshotRetryUs = 2'000;
constexpr std::uint64_t kSaveSumsBytes = 16u << 20;
constexpr std::int64_t kSaveSumsMs = 30'000;
constexpr std::int64_t kCloseWaitUs = 10'000'000;  // at a clean stop, for a disk that does not come back
constexpr int kRetentionPatience = 6;  // times retention, for files an upload still needs

}  // namespace

struct Engine::State {
  struct Delayed {
    std::int64_t due_us;
    Job job;
  };
  struct Unsynced {
    std::shared_ptr<Database> db;
    std::shared_ptr<os::File> file;
    Commit commit;
  };
  Mutex mutex;
  CondVar wake;
  CondVar stepped;
  bool woken GUARDED_BY(mutex) = false;
  bool stepping GUARDED_BY(mutex) = false;
  std::uint64_t steps GUARDED_BY(mutex) = 0;
  std::deque<Job> jobs GUARDED_BY(mutex);
  std::vector<std::shared_ptr<Database>> activated GUARDED_BY(mutex);
  std::map<std::string, std::shared_ptr<Database>, std::less<>> databases GUARDED_BY(mutex);
  std::map<std::string, std::shared_ptr<Database>, std::less<>> dropped GUARDED_BY(mutex);  // for their TXIDs
  std::map<std::string, Txid, std::less<>> needed_from GUARDED_BY(mutex);
  CondVar offload_done;
  int offloaded GUARDED_BY(mutex) = 0;  // functions that a pool thread has, or will have

  // Peer only.
  std::vector<Delayed> delayed;
  std::set<std::shared_ptr<Database>> watched;
  std::vector<Unsynced> unsynced;
  bool syncing = false;
  std::vector<Reply> after_sync;
  struct WaitingSnapshot {
    std::shared_ptr<Database> db;
    std::move_only_function<void(Result<std::shared_ptr<SnapshotReader>>)> reply;
  };
  std::deque<WaitingSnapshot> snapshots;
  std::set<std::string> snapshot_running;
  std::int64_t next_retention_us = 0;
};

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
  TRY_ASSIGN(dbs_, options_.data_dir->make_dir("dbs"));
  TRY_ASSIGN(caddis_dir_, options_.data_dir->make_dir("caddis"));
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

std::int64_t Engine::now_us() const {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000 + t.tv_nsec / 1000;
}

// --- queue and waiting
// -------------------------------------------------------------------------------------------------

void Engine::post(Job job) {
  MutexLock lock(state_->mutex);
  state_->jobs.push_back(std::move(job));
  state_->woken = true;
  state_->wake.notify_one();
}

void Engine::post_later(std::int64_t delay_us, Job job) {
  state_->delayed.push_back({now_us() + delay_us, std::move(job)});
}

void Engine::note_activity(const std::shared_ptr<Database>& db) {
  if (db->active_.exchange(true, std::memory_order_acq_rel)) return;
  MutexLock lock(state_->mutex);
  state_->activated.push_back(db);
  state_->woken = true;
  state_->wake.notify_one();
}

void Engine::expect_commit(Database& db) {
  if (!db.backing_off_.load(std::memory_order_relaxed) || !db.backing_off_.exchange(false, std::memory_order_acq_rel))
    return;
  post([db = db.shared_from_this()] {
    db->capture_->next_look_us_ = 0;
    db->capture_->idle_step_us_ = 0;
  });
}

void Engine::wake() {
  MutexLock lock(state_->mutex);
  state_->woken = true;
  state_->wake.notify_one();
}

void Engine::wait(std::int64_t us) {
  MutexLock lock(state_->mutex);
  if (!state_->woken && us != 0) {
    if (us < 0)
      state_->wake.wait(state_->mutex);
    else
      state_->wake.wait_for_us(state_->mutex, us);
  }
  state_->woken = false;
}

void Engine::wait_for_peer() {
  MutexLock lock(state_->mutex);
  std::uint64_t step = state_->steps;
  while (state_->stepping && state_->steps == step) state_->stepped.wait(state_->mutex);
}

std::int64_t Engine::step() {
  std::deque<Job> jobs;
  {
    MutexLock lock(state_->mutex);
    state_->stepping = true;
    jobs.swap(state_->jobs);
    for (std::shared_ptr<Database>& db : state_->activated) state_->watched.insert(std::move(db));
    state_->activated.clear();
  }
  for (Job& job : jobs) job();
  std::int64_t now = now_us();
  std::vector<Job> due;
  for (std::size_t i = 0; i < state_->delayed.size();) {
    if (state_->delayed[i].due_us > now) {
      ++i;
      continue;
    }
    due.push_back(std::move(state_->delayed[i].job));
    state_->delayed.erase(state_->delayed.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (Job& job : due) job();
  std::int64_t next = -1;
  auto at = [&](std::int64_t due_us) { next = next < 0 ? due_us : std::min(next, due_us); };
  std::vector<std::shared_ptr<Database>> watched(state_->watched.begin(), state_->watched.end());
  for (const std::shared_ptr<Database>& db : watched) {
    std::int64_t look = watch(db, now);
    if (look >= 0) at(look);
  }
  if (options_.retention_interval_ms > 0 && now >= state_->next_retention_us) {
    if (state_->next_retention_us != 0) enforce_retention();
    state_->next_retention_us = now + options_.retention_interval_ms * 1000;
  }
  if (state_->next_retention_us != 0) at(state_->next_retention_us);
  for (const State::Delayed& delayed : state_->delayed) at(delayed.due_us);
  start_sync();
  MutexLock lock(state_->mutex);
  state_->stepping = false;
  ++state_->steps;
  state_->stepped.notify_all();
  if (!state_->jobs.empty()) return 0;
  return next < 0 ? -1 : std::max<std::int64_t>(next - now_us(), 1);
}

// Looks at a database that has been written to. Returns when to look again, or -1 when it is quiet.
std::int64_t Engine::watch(const std::shared_ptr<Database>& db, std::int64_t now) {
  Capture& capture = *db->capture_;
  if (now < capture.next_look_us_) return capture.next_look_us_;
  CaptureOutcome outcome = CaptureOutcome::kNothing;
  bool unfinished = false;
  Position before = capture.position();
  if (db->live() && db->part(PartKind::kWal) != nullptr) {
    save_sums_if_due(*db, false);
    Result<CaptureOutcome> result = capture.capture_wal();
    if (!result) log_error(fmt::format("capture {}", db->name()), result.error(), "it is tried again");
    outcome = result.value_or(CaptureOutcome::kNotReady);
    unfinished = capture.has_uncaptured_wal();
  } else if (db->live() && db->dirty_without_journal()) {
    unfinished = true;
    std::shared_ptr<MountView> view = db->view();
    std::int64_t last_write = 0;
    {
      MutexLock lock(db->mutex_);
      last_write = db->last_write_us_;
    }
    // Either a lock that is free again or, without any lock, a while without writes ends what belongs together.
    if (now - last_write >= kQuietUs && (view == nullptr || view->try_lock_shared())) {
      Result<CaptureOutcome> result = capture.capture_pages(false);
      if (view != nullptr) view->unlock_shared();
      outcome = result.value_or(CaptureOutcome::kNotReady);  // a copy under way: its header is not whole yet
    }
  }
  std::int64_t end = now_us();
  if (outcome == CaptureOutcome::kCaptured) {
    bool busy = capture.position().txid.value() - before.txid.value() > 2;
    std::int64_t pause = busy ? std::clamp((end - now) * kPauseFactor, kMinIdleStepUs, kMaxPauseUs) : kMinIdleStepUs;
    capture.idle_step_us_ = kMinIdleStepUs;
    db->backing_off_.store(false, std::memory_order_release);
    capture.quiet_since_us_ = end;
    return capture.next_look_us_ = end + pause;
  }
  if (!unfinished && end - capture.quiet_since_us_ > kUnwatchAfterUs) {
    state_->watched.erase(db);
    capture.next_look_us_ = 0;
    capture.idle_step_us_ = 0;
    db->active_.store(false, std::memory_order_release);
    // A write between the look and the store would be missed: look at the flag's cause once more.
    if (db->live() && (capture.has_uncaptured_wal() || db->dirty_without_journal())) note_activity(db);
    return -1;
  }
  capture.idle_step_us_ = std::clamp(capture.idle_step_us_ * 2, kMinIdleStepUs, kMaxIdleStepUs);
  db->backing_off_.store(capture.idle_step_us_ > 1000, std::memory_order_release);
  return capture.next_look_us_ = end + capture.idle_step_us_;
}

// --- log: durability, sums, retention
// ------------------------------------------------------------------------------------

void Engine::committed(const std::shared_ptr<Database>& db, Commit commit, std::shared_ptr<os::File> unsynced) {
  for (CommitSink* sink : sinks_) sink->committed(commit);
  if (unsynced == nullptr) {
    for (CommitSink* sink : sinks_) sink->durable(commit);
    return;
  }
  state_->unsynced.push_back({db, std::move(unsynced), std::move(commit)});
}

void Engine::start_sync() {
  if (state_->syncing || (state_->unsynced.empty() && state_->after_sync.empty())) return;
  state_->syncing = true;
  auto batch = std::make_shared<std::vector<State::Unsynced>>(std::exchange(state_->unsynced, {}));
  auto replies = std::make_shared<std::vector<Reply>>(std::exchange(state_->after_sync, {}));
  offload([this, batch, replies] {
    Status done;
    std::set<Database*> dirs;
    for (State::Unsynced& one : *batch) {
      if (done) done = one.file->datasync();
      dirs.insert(one.db.get());
    }
    for (Database* db : dirs) {
      if (done) done = db->capture_->ltx_dir_->sync();
      if (done) done = db->dir_->sync();
    }
    post([this, batch, replies, done = std::move(done)]() mutable {
      state_->syncing = false;
      if (!done) {
        log_error("make the log durable", done.error(), "look at the disk of the data directory");
        if (options_.on_fatal) options_.on_fatal(done.error());
      } else {
        for (State::Unsynced& one : *batch) {
          for (CommitSink* sink : sinks_) sink->durable(one.commit);
        }
      }
      for (Reply& reply : *replies) {
        reply(done ? Status{} : Status(std::unexpected(done.error())));
      }
    });
  });
}

void Engine::when_log_durable(Reply then) {
  if (!state_->syncing && state_->unsynced.empty()) return then({});
  state_->after_sync.push_back(std::move(then));
}

void Engine::drain(Reply reply) {
  post([this, reply = std::move(reply)]() mutable { reply_drain(databases(), std::move(reply)); });
}

void Engine::reply_drain(std::vector<std::shared_ptr<Database>> rest, Reply reply) {
  if (rest.empty()) {
    state_->after_sync.push_back(std::move(reply));
    return;
  }
  std::shared_ptr<Database> db = std::move(rest.back());
  rest.pop_back();
  auto next = [this, rest = std::move(rest), reply = std::move(reply)](Status done) mutable {
    if (!done) return reply(std::move(done));
    reply_drain(std::move(rest), std::move(reply));
  };
  if (db->dirty_without_journal()) return db->capture_boundary(std::move(next), false);
  db->when_captured(std::move(next));
}

Status Engine::write_sums(Database& db, const SavedSums& saved) {
  MutexLock lock(sums_mutex_);
  if (saved.position.txid < db.capture_->written_sums_txid_) return {};
  TRY(save_sums(*sums_, db.name(), saved));
  db.capture_->written_sums_txid_ = saved.position.txid;
  return {};
}

void Engine::save_sums_if_due(Database& db, bool now) {
  Capture& capture = *db.capture_;
  if (capture.saving_ || capture.position_.txid == capture.saved_txid_) return;
  std::int64_t time = options_.clock->now().value();
  bool due = now || capture.bytes_since_saved_ >= kSaveSumsBytes || time - capture.saved_at_ms_ >= kSaveSumsMs;
  if (!due || !capture.all_backfilled()) return;
  capture.saving_ = true;
  capture.saved_at_ms_ = time;
  capture.bytes_since_saved_ = 0;
  auto saved = std::make_shared<SavedSums>(SavedSums{.sums = capture.sums_, .position = capture.position_});
  auto self = db.shared_from_this();
  PartFile file = db.part(PartKind::kDatabase);
  // The sums must not be newer than the log on disk: after a power loss the log would have a hole before them.
  when_log_durable([this, self, saved, file](Status durable) {
    if (!durable) {
      self->capture_->saving_ = false;
      return;
    }
    offload([this, self, saved, file] {
      Status done = file == nullptr ? Status{} : file->datasync();
      if (done) done = write_sums(*self, *saved);
      post([self, saved, done = std::move(done)] {
        self->capture_->saving_ = false;
        if (done)
          self->capture_->saved_txid_ = saved->position.txid;
        else
          log_error(fmt::format("save the page checksums of {}", self->name()), done.error(),
                    "the next boot reads more of the log");
      });
    });
  });
}

void Engine::enforce_retention() {
  for (const std::shared_ptr<Database>& db : databases()) {
    save_sums_if_due(*db, true);
    enforce_retention(*db);
  }
}

void Engine::enforce_retention(Database& db) {
  if (options_.retention_ms <= 0) return;
  Result<std::vector<LogEntry>> entries = log_->list(db.name());
  if (!entries || entries->empty()) return;
  std::optional<Txid> needed;
  {
    MutexLock lock(state_->mutex);
    if (auto it = state_->needed_from.find(db.name()); it != state_->needed_from.end()) needed = it->second;
  }
  std::int64_t now = options_.clock->wall_ms();
  entries->pop_back();  // the last one always stays: it says where the database is
  for (const LogEntry& entry : *entries) {
    std::int64_t age = now - entry.mtime_ms;
    if (age < options_.retention_ms || entry.max > db.capture_->saved_txid_) continue;
    if (needed && entry.max >= *needed && age < options_.retention_ms * kRetentionPatience) continue;
    (void)db.capture_->ltx_dir_->unlink(entry.file_name);
  }
}

// --- snapshots
// -----------------------------------------------------------------------------------------------------------

namespace {

class Reader final : public SnapshotReader {
 public:
  Reader(std::shared_ptr<SnapshotCow> cow, std::move_only_function<void()> ended)
      : cow_(std::move(cow)), ended_(std::move(ended)) {}
  ~Reader() override { ended_(); }
  Position position() const override { return cow_->position(); }
  std::uint32_t page_size_bytes() const override { return cow_->sums().page_size_bytes(); }
  std::uint32_t page_count() const override { return cow_->sums().page_count(); }
  std::int64_t wall_ms() const override { return cow_->wall_ms(); }
  Status read_page(Pgno pgno, ByteSpan out) override { return cow_->read_page(pgno, out); }

 private:
  std::shared_ptr<SnapshotCow> cow_;
  std::move_only_function<void()> ended_;
};

}  // namespace

void Engine::start_snapshot(const std::shared_ptr<Database>& db,
                            std::move_only_function<void(Result<std::shared_ptr<SnapshotReader>>)> reply) {
  post([this, db, reply = std::move(reply)]() mutable {
    state_->snapshots.push_back({db, std::move(reply)});
    begin_snapshot(db);
  });
}

void Engine::begin_snapshot(const std::shared_ptr<Database>& db) {
  if (state_->snapshot_running.contains(db->name())) return;
  auto it = std::find_if(state_->snapshots.begin(), state_->snapshots.end(),
                         [&](const State::WaitingSnapshot& w) { return w.db == db; });
  if (it == state_->snapshots.end()) return;
  if (db->has_dirty() && !db->dirty_without_journal() && db->part(PartKind::kWal) == nullptr) {
    // A journalled transaction has spilled pages: what they were is only in its journal. After it.
    return post_later(kSnapshotRetryUs, [this, db] { begin_snapshot(db); });
  }
  state_->snapshot_running.insert(db->name());
  auto reply = std::make_shared<decltype(it->reply)>(std::move(it->reply));
  state_->snapshots.erase(it);
  auto take = [this, db, reply](Status captured) {
    auto fail = [&](Error error) {
      (*reply)(std::unexpected(std::move(error)));
      snapshot_ended(db);
    };
    if (!captured) return fail(std::move(captured).error());
    Capture& capture = *db->capture_;
    PartFile file = db->part(PartKind::kDatabase);
    if (file == nullptr || capture.sums().page_count() == 0) {
      return fail(Error(ErrorCode::kNotFound, fmt::format("database {} is empty", db->name())));
    }
    std::string spill_name = "snapshot-" + db->name();
    Result<std::unique_ptr<os::File>> spill = tmp_->open(spill_name, os::OpenMode::kTruncate);
    if (!spill) return fail(std::move(spill).error());
    (void)tmp_->unlink(spill_name);
    auto cow =
        std::make_shared<SnapshotCow>(capture.position(), db->last_commit_wall_ms(), capture.sums(), std::move(file),
                                      db->part(PartKind::kWal), capture.wal_frames_, std::move(*spill));
    db->set_snapshot(cow);
    (*reply)(std::make_shared<Reader>(std::move(cow), [this, db] { snapshot_ended(db); }));
  };
  if (db->dirty_without_journal()) return db->capture_boundary(std::move(take), false);
  db->when_captured(std::move(take));
}

void Engine::snapshot_ended(const std::shared_ptr<Database>& db) {
  post([this, db] {
    db->set_snapshot(nullptr);
    state_->snapshot_running.erase(db->name());
    begin_snapshot(db);
  });
}

}  // namespace caddis::db
