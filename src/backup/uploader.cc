#include "backup/uploader.h"

#include <algorithm>

#include "base/log.h"

namespace caddis::backup {
namespace {

using loop::Task;

constexpr std::size_t kMaxDatabaseSeries = 100;  // as api/node_metrics.h
constexpr std::size_t kSlotsPerTarget = 4;
constexpr std::size_t kSnapshotsPerTarget = 2;

}  // namespace

// Metrics::render may run at any time and outlive the uploader.
struct Uploader::Gauges {
  struct Value {
    ReplicaStatus status;
    std::int64_t pending_since_ms = 0;  // wall clock; 0: nothing is pending
  };
  explicit Gauges(const Clock& c) : clock(c) {}
  const Clock& clock;
  Mutex mutex;
  std::map<std::pair<std::string, std::string>, Value> values GUARDED_BY(mutex);

  struct Numbers {
    double txid = 0, restorable_txid = 0, restorable_ms = 0, lag_ms = 0, stopped = 0;
  };
  Numbers numbers_of(const Value& v) const {
    Numbers n;
    n.txid = static_cast<double>(v.status.uploaded.value());
    // Only while nothing is missing in between does a restore of the latest give this transaction.
    if (v.status.state == ReplicaState::kFollow) {
      n.restorable_txid = n.txid;
      n.restorable_ms = static_cast<double>(v.status.uploaded_wall_ms);
    }
    if (v.pending_since_ms != 0)
      n.lag_ms = static_cast<double>(std::max<std::int64_t>(0, clock.wall_ms() - v.pending_since_ms));
    n.stopped = v.status.state == ReplicaState::kHalted ? 1 : 0;
    return n;
  }
  static void set(Metrics& m, const std::string& db, const std::string& target, const Numbers& n) {
    MetricLabels labels{{"db", db}, {"target", target}};
    m.gauge("caddis_backup_txid", "Last transaction uploaded.", labels).set(n.txid);
    m.gauge("caddis_backup_lag_seconds", "Age of the oldest transaction that is not uploaded.", labels)
        .set(n.lag_ms / 1000);
    m.gauge("caddis_backup_restorable_txid", "Transaction that a restore gives now.", labels).set(n.restorable_txid);
    m.gauge("caddis_backup_restorable_timestamp_seconds", "Time of the transaction that a restore gives now.", labels)
        .set(n.restorable_ms / 1000);
    m.gauge("caddis_backup_stopped", "1 when nothing is uploaded because the target holds another history.", labels)
        .set(n.stopped);
  }
  // With many databases one series for each target: TXIDs and stopped ones added up, the worst lag, the oldest time.
  void render(Metrics& m) EXCLUDES(mutex) {
    MutexLock lock(mutex);
    std::set<std::string> names;
    for (const auto& [key, value] : values) names.insert(value.status.db);
    if (names.size() <= kMaxDatabaseSeries) {
      for (const auto& [key, value] : values) set(m, value.status.db, value.status.target, numbers_of(value));
      return;
    }
    for (const std::string& name : names) m.remove("db", name);
    std::map<std::string, Numbers> sums;
    for (const auto& [key, value] : values) {
      auto [it, first] = sums.try_emplace(value.status.target);
      Numbers& sum = it->second;
      Numbers n = numbers_of(value);
      sum.txid += n.txid;
      sum.restorable_txid += n.restorable_txid;
      sum.restorable_ms = first ? n.restorable_ms : std::min(sum.restorable_ms, n.restorable_ms);
      sum.lag_ms = std::max(sum.lag_ms, n.lag_ms);
      sum.stopped += n.stopped;
    }
    for (const auto& [target, sum] : sums) set(m, "_sum", target, sum);
  }
};

Uploader::Uploader(loop::Loop& loop, const Clock& clock, LocalDatabases& databases)
    : loop_(loop),
      clock_(clock),
      databases_(databases),
      changed_(loop),
      gauges_(std::make_shared<Gauges>(clock)),
      alive_(std::make_shared<bool>(true)) {}

Uploader::~Uploader() { *alive_ = false; }

Result<std::unique_ptr<Uploader>> Uploader::create(loop::Loop& loop, const Clock& clock, LocalDatabases& databases,
                                                   os::Dir& caddis_dir, Metrics* metrics,
                                                   std::vector<UploadTarget> targets) {
  std::unique_ptr<Uploader> uploader(new Uploader(loop, clock, databases));
  for (UploadTarget& given : targets) {
    TRY_ASSIGN(UploadNotes notes, UploadNotes::open(caddis_dir, target_id(given.target->url())));
    uploader->targets_.push_back({std::move(given),
                                  std::move(notes),
                                  std::make_unique<Slots>(loop, kSlotsPerTarget),
                                  std::make_unique<Slots>(loop, kSnapshotsPerTarget),
                                  {}});
  }
  if (metrics != nullptr) metrics->on_render([gauges = uploader->gauges_](Metrics& m) { gauges->render(m); });
  return uploader;
}

void Uploader::start() {
  CHECK(!started_);
  started_ = true;
  for (const std::string& name : databases_.names()) {
    std::optional<LocalState> state = databases_.state(name);
    if (state && state->position.txid != Txid()) note_commit(name, {{}, state->position.txid, state->wall_ms});
  }
  take_fresh();
}

void Uploader::durable(const db::Commit& commit) {
  bool first = false;
  {
    MutexLock lock(mutex_);
    first = fresh_.empty();
    Fresh& fresh = fresh_[commit.name];
    if (fresh.files.empty()) fresh.wall_ms = commit.wall_ms;
    fresh.files.emplace_back(commit.min, commit.position.txid);
    fresh.txid = commit.position.txid;
  }
  if (!first) return;  // the function posted for the one before takes this one, too
  loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (auto a = alive.lock(); a && *a) take_fresh();
  });
}

void Uploader::take_fresh() {
  if (!started_ || ended_) return;
  std::map<std::string, Fresh> fresh;
  {
    MutexLock lock(mutex_);
    fresh.swap(fresh_);
  }
  for (const auto& [name, one] : fresh) note_commit(name, one);
}

void Uploader::note_commit(const std::string& name, const Fresh& fresh) {
  std::shared_ptr<RecentLog>& recent = recent_[name];
  if (recent == nullptr) recent = std::make_shared<RecentLog>();
  for (const auto& [min, max] : fresh.files) recent->add(min, max);
  bool became_pending = false;
  for (PerTarget& t : targets_) {
    std::unique_ptr<Replica>& replica = t.replicas[name];
    if (replica == nullptr) {
      Replica::Context context{loop_,
                               clock_,
                               databases_,
                               *t.given.target,
                               t.notes,
                               *t.slots,
                               *t.snapshot_slots,
                               t.given.options,
                               recent,
                               [this, name] { on_changed(name); }};
      replica = std::make_unique<Replica>(std::move(context), name);
      running_.spawn(replica->run(stop_.get_token()));
    }
    became_pending |= replica->settled();
    replica->committed(fresh.txid, fresh.wall_ms);
  }
  if (became_pending) on_changed(name);
}

void Uploader::on_changed(const std::string& name) {
  Txid needed;
  Txid done;
  bool first = true;
  for (PerTarget& t : targets_) {
    auto it = t.replicas.find(name);
    if (it == t.replicas.end()) continue;
    Txid from = it->second->needed_from();
    if (from != Txid() && (needed == Txid() || from < needed)) needed = from;
    Txid done_with = it->second->done_with();
    done = first ? done_with : std::min(done, done_with);
    first = false;
    ReplicaStatus status = it->second->status();
    MutexLock lock(gauges_->mutex);
    Gauges::Value& value = gauges_->values[{status.target, name}];
    value.pending_since_ms = status.settled ? 0 : clock_.wall_ms() - status.lag_ms;
    value.status = std::move(status);
  }
  if (needed != Txid()) databases_.set_needed_from(name, needed);
  if (done != Txid()) recent_[name]->forget_through(done);
  changed_.set();
}

bool Uploader::all_settled() const {
  for (const PerTarget& t : targets_) {
    for (const auto& [name, replica] : t.replicas) {
      if (!replica->settled()) return false;
    }
  }
  return true;
}

Task<std::vector<FlushResult>> Uploader::flush(std::int64_t deadline_ms) {
  take_fresh();
  TimeMs deadline = clock_.now() + deadline_ms;
  for (PerTarget& t : targets_) {
    for (auto& [name, replica] : t.replicas) replica->hurry();
  }
  for (;;) {
    changed_.reset();
    std::int64_t left_ms = deadline - clock_.now();
    if (all_settled() || left_ms <= 0) break;
    (void)co_await changed_.wait(left_ms, {});
    take_fresh();
  }
  std::vector<FlushResult> results;
  for (const ReplicaStatus& s : status()) {
    bool done = s.state != ReplicaState::kHalted && s.settled;
    results.push_back({s.target, s.db, done, s.uploaded, s.durable, s.error});
  }
  ended_ = true;
  stop_.request_stop();
  co_await running_.join();
  co_return results;
}

std::vector<ReplicaStatus> Uploader::status() const {
  std::vector<ReplicaStatus> all;
  for (const PerTarget& t : targets_) {
    for (const auto& [name, replica] : t.replicas) all.push_back(replica->status());
  }
  return all;
}

}  // namespace caddis::backup
