#include "backup/replica.h"

#include <malloc.h>

#include <algorithm>

#include "base/log.h"

namespace caddis::backup {
namespace {

using loop::Task;

constexpr std::int64_t kSameTextMs = 30'000;  // the same error is logged this often at most
constexpr std::int64_t kNoteMs = 30'000;      // the note on disk is this old at most
constexpr std::int64_t kCoalesceMs = 50;      // commits of one burst go together
constexpr std::uint64_t kTrimBytes = 1u << 20;
constexpr std::int64_t kHurriedRetryMs = 200;
constexpr std::uint64_t kFirstUploadLimitBytes = 16u << 20;

// 80-120 % of it, so that many databases do not ask together.
std::int64_t jitter(std::int64_t ms, const std::string& name, std::int64_t seed) {
  std::size_t h = std::hash<std::string>{}(name) ^ static_cast<std::size_t>(seed);
  return ms * (80 + static_cast<std::int64_t>((h * 2654435761u >> 7) % 41)) / 100;
}

}  // namespace

std::string_view to_text(ReplicaState state) {
  switch (state) {
    case ReplicaState::kCompare:
      return "starting";
    case ReplicaState::kSnapshot:
      return "snapshot";
    case ReplicaState::kFollow:
      return "ok";
    case ReplicaState::kHalted:
      return "stopped";
  }
  return "stopped";
}

Replica::Replica(Context context, std::string name)
    : c_(std::move(context)),
      name_(std::move(name)),
      work_(c_.loop),
      hurried_(c_.loop),
      snapshot_(c_.loop),
      following_(c_.loop),
      durable_moved_(c_.loop) {}

Task<void> Replica::run(std::stop_token stop) {
  std::stop_callback on_stop(stop, [this] { background_.request_stop(); });
  loop::TaskGroup group;
  group.spawn(upload_loop(stop));
  group.spawn(snapshot_loop(stop));
  group.spawn(maintain_loop(background_.get_token()));
  co_await group.join();
  co_await write_note();
}

void Replica::committed(Txid txid, std::int64_t wall_ms) {
  if (txid <= durable_) return;
  durable_ = txid;
  if (!pending_since_ms_) pending_since_ms_ = wall_ms;
  durable_moved_.set();
  work_.set();
  if (state_ == ReplicaState::kSnapshot) snapshot_.set();  // the last one may have met a deleted database
}

void Replica::hurry() {
  hurry_ = true;
  hurried_.set();
  work_.set();
  background_.request_stop();
}

Txid Replica::settled_at() const { return std::max(uploaded_.txid, dropped_); }

bool Replica::settled() const { return state_ == ReplicaState::kHalted || settled_at() >= durable_; }

Txid Replica::needed_from() const { return state_ == ReplicaState::kFollow ? uploaded_.txid.next() : Txid(); }

Txid Replica::done_with() const {
  if (state_ != ReplicaState::kFollow) return uploaded_.txid;
  return c_.options.levels.empty() ? uploaded_.txid : std::min(uploaded_.txid, newest_at(objects_, 1));
}

ReplicaStatus Replica::status() const {
  ReplicaStatus s;
  s.target = c_.target.url();
  s.db = name_;
  s.state = state_;
  s.uploaded = uploaded_.txid;
  s.uploaded_wall_ms = uploaded_wall_ms_;
  s.durable = durable_;
  if (pending_since_ms_ && settled_at() < durable_)
    s.lag_ms = std::max<std::int64_t>(0, c_.clock.wall_ms() - *pending_since_ms_);
  s.snapshot = newest_snapshot_.max;
  s.snapshot_wall_ms = newest_snapshot_.created_ms;
  s.settled = settled();
  s.error = error_;
  return s;
}

void Replica::report(std::string_view intention, const Error& error) {
  if (error.code() == ErrorCode::kCancelled || state_ == ReplicaState::kHalted) return;
  error_ = fmt::format("{}: {}", intention, error.message());
  TimeMs now = c_.clock.now();
  std::erase_if(logged_, [&](const auto& entry) { return now - entry.second >= kSameTextMs; });
  if (!logged_.try_emplace(error_, now).second) return;
  log_record(LogLevel::kError, error_, {{"target", c_.target.url()}, {"db", name_}});
}

void Replica::follow() {
  state_ = ReplicaState::kFollow;
  following_.set();
}

void Replica::halt(std::string why) {
  state_ = ReplicaState::kHalted;
  error_ = std::move(why);
  log_record(LogLevel::kError, "backup stopped: " + error_,
             {{"target", c_.target.url()},
              {"db", name_},
              {"cure",
               "if the backup there is the right one, restore it (caddis restore) in place of this volume's; if this "
               "volume is "
               "right, move the objects under that name away, or give the target another prefix, and start again"}});
  c_.changed();
}

void Replica::want_snapshot(std::string why) {
  if (state_ == ReplicaState::kHalted) return;
  log_info("backup needs a snapshot", {{"target", c_.target.url()}, {"db", name_}, {"reason", why}});
  state_ = ReplicaState::kSnapshot;
  snapshot_.set();
  c_.changed();
}

void Replica::add_object(ObjectInfo info) {
  info.created_ms = c_.clock.wall_ms();  // retention counts from here
  std::erase_if(objects_,
                [&](const ObjectInfo& o) { return o.level == info.level && o.min == info.min && o.max == info.max; });
  objects_.push_back(info);
  if (info.level == kSnapshotLevel) find_newest_snapshot();
}

void Replica::find_newest_snapshot() {
  newest_snapshot_ = {};
  for (const ObjectInfo& o : objects_) {
    if (o.level == kSnapshotLevel && o.max >= newest_snapshot_.max) newest_snapshot_ = o;
  }
}

void Replica::advance(const Position& position, std::int64_t wall_ms) {
  if (position.txid <= uploaded_.txid && state_ == ReplicaState::kFollow) return;
  uploaded_ = position;
  uploaded_wall_ms_ = wall_ms;
  pending_since_ms_.reset();
  if (uploaded_.txid < durable_) pending_since_ms_ = c_.clock.wall_ms();
  error_.clear();
  c_.changed();
}

Task<void> Replica::pause(std::int64_t ms, std::stop_token stop) {
  if (ms > 0) (void)co_await hurried_.wait(ms, stop);
}

// --- level 0 ---

Task<void> Replica::upload_loop(std::stop_token stop) {
  std::int64_t retry_ms = 0;
  TimeMs last_upload = c_.clock.now() + -c_.options.sync_interval_ms;
  while (!stop.stop_requested()) {
    work_.reset();
    bool may_send = state_ == ReplicaState::kFollow || state_ == ReplicaState::kCompare;
    if (!may_send || durable_ <= settled_at()) {
      (void)co_await work_.wait(0, stop);
      continue;
    }
    Status status;
    bool comparing = state_ == ReplicaState::kCompare;
    if (comparing) {
      status = co_await compare(stop);
    } else {
      std::int64_t due = c_.options.sync_interval_ms - (c_.clock.now() - last_upload);
      if (!hurry_) co_await pause(std::max(due, std::min(kCoalesceMs, c_.options.sync_interval_ms)), stop);
      last_upload = c_.clock.now();
      status = co_await upload_pending(stop);
    }
    if (status) {
      retry_ms = 0;
      if (c_.clock.wall_ms() - noted_at_ms_ >= kNoteMs) co_await write_note();
      if (settled_at() >= durable_) co_await give_memory_back();
      continue;
    }
    report(comparing ? "backup: compare with the target" : "backup: upload", status.error());
    retry_ms = std::clamp(retry_ms * 2, c_.options.first_retry_ms, c_.options.last_retry_ms);
    co_await back_off(retry_ms, stop);
  }
}

// Hurrying ends the wait, and makes the next ones short.
Task<void> Replica::back_off(std::int64_t ms, std::stop_token stop) {
  if (hurry_)
    (void)co_await loop::sleep(c_.loop, std::min(ms, kHurriedRetryMs), stop);
  else
    co_await pause(jitter(ms, name_, c_.clock.wall_ms()), stop);
}

Task<Status> Replica::upload_pending(std::stop_token stop) {
  while (state_ == ReplicaState::kFollow && durable_ > settled_at()) {
    if (dropped_ > uploaded_.txid) {
      want_snapshot("the database was deleted and made anew");
      break;
    }
    CO_TRY_ASSIGN(Slots::Slot slot, co_await c_.slots.acquire(stop));
    auto read = [this, from = settled_at(), upto = durable_, page_size = page_size_] {
      return next_piece(c_.databases, name_, c_.recent.get(), from, upto, page_size, c_.options.epoch,
                        c_.options.batch_limit_bytes);
    };
    Result<LogPiece> next = co_await loop::offload(c_.loop, read);
    if (!next && next.error().code() == ErrorCode::kCorrupt) {  // a snapshot does not need the log
      log_error("backup: read the log of " + name_, next.error());
      want_snapshot("the log is damaged");
      co_return Status{};
    }
    if (!next) co_return std::move(next).error();
    LogPiece piece = std::move(*next);
    switch (piece.kind) {
      case LogPiece::Kind::kNothing:
        co_return Status{};
      case LogPiece::Kind::kBroken:
        want_snapshot(piece.why);
        co_return Status{};
      case LogPiece::Kind::kDropped:
        dropped_ = piece.position.txid;
        c_.changed();
        break;
      case LogPiece::Kind::kBatch:
      case LogPiece::Kind::kGiant: {
        Position position = piece.position;
        std::int64_t wall_ms = piece.timestamp_ms;
        page_size_ = piece.page_size_bytes;
        CO_TRY(co_await send(std::move(piece), 0, stop));
        advance(position, wall_ms);
        break;
      }
    }
  }
  co_return Status{};
}

Task<Status> Replica::send(LogPiece piece, int level, std::stop_token stop) {
  ObjectInfo info{level, piece.min, piece.position.txid, 0, piece.timestamp_ms};
  Status sent;
  if (piece.data) {
    info.size_bytes = piece.data->size();
    sent = co_await c_.target.put(name_, info, piece.data, stop);
  } else {
    sent = co_await send_stream(info, *piece.stream, stop);
    info.size_bytes = piece.stream->size_bytes();
  }
  if (!sent && sent.error().code() == ErrorCode::kConflict)
    sent = co_await check_conflict(info, piece.position.checksum, stop);
  if (sent) add_object(info);
  sent_since_trim_ += info.size_bytes;
  co_return sent;
}

// Sends an object in parts. `wait_for`: the object appears only when this transaction is durable here.
Task<Status> Replica::send_stream(ObjectInfo info, PartEncoder& stream, std::stop_token stop, Txid wait_for) {
  auto encode = [&stream, size = c_.options.part_size_bytes] { return stream.next_part(size); };
  CO_TRY_ASSIGN(Bytes first, co_await loop::offload(c_.loop, encode));
  if (stream.done()) {
    CO_TRY(co_await wait_durable(wait_for, stop));
    info.size_bytes = first.size();
    co_return co_await c_.target.put(name_, info, std::make_shared<const Bytes>(std::move(first)), stop);
  }
  CO_TRY_ASSIGN(std::unique_ptr<ObjectUpload> upload, co_await c_.target.start_upload(name_, info, stop));
  CO_TRY(co_await upload->write(std::move(first), stop));
  while (!stream.done()) {
    if (stop.stop_requested()) co_return Error(ErrorCode::kCancelled, "stopped");
    CO_TRY_ASSIGN(Bytes part, co_await loop::offload(c_.loop, encode));
    CO_TRY(co_await upload->write(std::move(part), stop));
  }
  CO_TRY(co_await wait_durable(wait_for, stop));
  co_return co_await upload->finish(stop);
}

Task<Status> Replica::wait_durable(Txid txid, std::stop_token stop) {
  while (durable_ < txid) {
    durable_moved_.reset();
    CO_TRY(co_await durable_moved_.wait(0, stop));
  }
  co_return Status{};
}

// An object of that name is there. The same state of the same database is our own, from a try whose answer was lost;
// anything else is somebody's who writes here too.
Task<Status> Replica::check_conflict(ObjectInfo info, Checksum ours, std::stop_token stop) {
  CO_TRY_ASSIGN(Bytes head, co_await c_.target.read(name_, info, 0, ltx::kHeaderSizeBytes, stop));
  Result<ltx::Header> header = ltx::decode_header(head, ltx::Version::kV3);
  std::optional<ltx::Cds1> proof = header ? header->cds1() : std::nullopt;
  bool same = proof && proof->post_apply == ours && header->min_txid == info.min && header->max_txid == info.max;
  if (same) co_return Status{};
  std::string who = proof ? fmt::format("by caddis in epoch {} with database checksum {}, ours is {}", proof->epoch,
                                        proof->post_apply, ours)
                          : "by another program, such as litestream";
  halt(fmt::format("{} is there already, written {}", to_text(info), who));
  co_return Error(ErrorCode::kConflict, error_);
}

// --- comparison at start ---

Task<Result<RemoteTail>> Replica::read_tail(std::stop_token stop) {
  CO_TRY_ASSIGN(objects_, co_await c_.target.list(name_, stop));
  find_newest_snapshot();
  RemoteTail tail;
  if (objects_.empty()) co_return tail;
  tail.empty = false;
  for (const ObjectInfo& o : objects_) tail.newest = std::max(tail.newest, o.max);
  // A gap below makes this an error; what is reachable then is what the nearest earlier point gives.
  if (Result<RestorePlan> plan = plan_restore(objects_, {})) tail.restorable = plan->txid;
  std::vector<ObjectInfo> last = objects_;
  std::erase_if(last, [&](const ObjectInfo& o) { return o.max != tail.newest; });
  for (const ObjectInfo& o : last) {  // a compaction by Litestream loses our mark, its sources may still have it
    CO_TRY_ASSIGN(Bytes head, co_await c_.target.read(name_, o, 0, ltx::kHeaderSizeBytes, stop));
    Result<ltx::Header> header = ltx::decode_header(head, ltx::Version::kV3);
    if (!header) co_return std::move(header).error().context(to_text(o));
    tail.page_size_bytes = header->page_size_bytes;
    if (auto proof = header->cds1()) {
      tail.checksum = proof->post_apply;
      tail.epoch = proof->epoch;
      break;
    }
  }
  co_return tail;
}

Task<Result<LocalTail>> Replica::read_local(RemoteTail remote, LocalState local) {
  auto read = [this, remote, local]() -> Result<LocalTail> {
    LocalTail tail;
    tail.position = local.position;
    tail.page_size_bytes = local.page_size_bytes;
    tail.uploaded = c_.notes.read(name_);
    if (!remote.empty) {
      TRY_ASSIGN(tail.checksum_at_remote, checksum_at(c_.databases, name_, remote.newest));
    }
    if (remote.newest >= local.position.txid) {
      tail.log_follows = remote.newest == local.position.txid;
      return tail;
    }
    Result<std::vector<db::LogEntry>> chain = c_.databases.chain(name_, remote.newest, local.position.txid);
    if (!chain && chain.error().code() != ErrorCode::kNotFound) return std::unexpected(std::move(chain).error());
    tail.log_follows = chain.has_value();
    std::uint64_t bytes = 0;
    if (chain) {
      for (const db::LogEntry& e : *chain) bytes += e.size_bytes;
    }
    // Into an empty target a long history goes as one snapshot instead of twice.
    if (remote.empty && bytes > kFirstUploadLimitBytes) tail.log_follows = false;
    return tail;
  };
  co_return co_await loop::offload(c_.loop, read);
}

Task<Status> Replica::compare(std::stop_token stop) {
  std::optional<LocalState> local = c_.databases.state(name_);
  if (!local || local->position.txid == Txid() || local->page_count == 0) {
    dropped_ = durable_;  // nothing to back up until it is made anew
    co_return Status{};
  }
  CO_TRY_ASSIGN(RemoteTail remote, co_await read_tail(stop));
  CO_TRY_ASSIGN(LocalTail tail, co_await read_local(remote, *local));
  StartDecision decision = decide_start(remote, tail);
  if (decision.action == StartAction::kStop) {
    halt(decision.why);
    co_return Status{};
  }
  if (decision.action == StartAction::kSnapshot) {
    want_snapshot(decision.why);
    co_return Status{};
  }
  follow();
  page_size_ = remote.page_size_bytes;
  dropped_ = Txid();
  uploaded_ = {decision.from, remote.checksum.value_or(Checksum())};
  if (decision.from == local->position.txid) uploaded_ = local->position;
  for (const ObjectInfo& o : objects_) {
    if (o.max == decision.from) uploaded_wall_ms_ = o.created_ms;
  }
  if (settled_at() >= durable_) pending_since_ms_.reset();
  c_.changed();
  if (snapshot_due(objects_, local->position.txid, c_.clock.wall_ms(), c_.options.retention.snapshot_interval_ms))
    snapshot_.set();
  co_return Status{};
}

// Batches are large and short-lived; without this the allocator keeps their memory for good.
Task<void> Replica::give_memory_back() {
  if (sent_since_trim_ < kTrimBytes) co_return;
  sent_since_trim_ = 0;
  co_await loop::offload(c_.loop, [] { malloc_trim(0); });
}

Task<void> Replica::write_note() {
  noted_at_ms_ = c_.clock.wall_ms();
  if (uploaded_ == noted_ || uploaded_.txid == Txid() || uploaded_.checksum == Checksum()) co_return;
  Position position = uploaded_;
  auto write = [this, position] { return c_.notes.write(name_, position); };
  Status written = co_await loop::offload(c_.loop, write);
  if (written)
    noted_ = position;
  else
    report("backup: note the uploaded position", written.error());
}

}  // namespace caddis::backup
