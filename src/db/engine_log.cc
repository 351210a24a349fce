// The log of an Engine: when it is durable, when the page checksums are saved, what retention takes.
#include <algorithm>

#include "base/log.h"
#include "db/capture.h"
#include "db/engine_state.h"
#include "db/log.h"

namespace caddis::db {
namespace {

constexpr std::size_t kManyUnsynced = 100;  // log files from which one sync of the file system is quicker
constexpr std::uint64_t kSaveSumsBytes = 16u << 20;
constexpr std::int64_t kSaveSumsMs = 30'000;
constexpr int kRetentionPatience = 6;  // times retention, for files an upload still needs

}  // namespace

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
    bool all_at_once = false;
    if (batch->size() >= kManyUnsynced) {  // a burst of commits with synchronous=OFF
      Result<bool> synced = dbs_->sync_file_system();
      all_at_once = synced.value_or(false);
      if (!synced) done = std::unexpected(std::move(synced).error());
    }
    for (State::Unsynced& one : *batch) {
      if (done && !all_at_once) done = one.file->datasync();
      dirs.insert(one.db.get());
    }
    for (Database* db : dirs) {
      if (all_at_once) break;
      if (done) done = db->capture_->ltx_dir_->sync();
      if (done) done = db->dir_->sync();
    }
    post([this, batch, replies, done = std::move(done)]() mutable {
      state_->syncing = false;
      if (!done) {
        state_->log_failure = done.error();
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

// A sync that failed once has lost what it was to write, whatever a later one says: from then on nothing is durable.
void Engine::when_log_durable(Reply then) {
  if (state_->log_failure) return then(std::unexpected(*state_->log_failure));
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
      // A journal that is back after a power loss would take the database behind the sums.
      if (done && self->names_changed_.exchange(false, std::memory_order_acq_rel)) done = self->dir_->sync();
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

}  // namespace caddis::db
