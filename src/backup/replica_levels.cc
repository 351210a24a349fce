// Replica, second part: snapshots, compaction levels, retention.
#include <algorithm>

#include "backup/replica.h"
#include "base/log.h"

namespace caddis::backup {
namespace {

using loop::Task;

constexpr std::uint64_t kReadBackLimitBytes = 32u << 20;
constexpr std::uint64_t kCopyChunkBytes = 5u << 20;

struct SnapshotAnswer {
  explicit SnapshotAnswer(loop::Loop& loop) : ready(loop) {}
  loop::Event ready;
  Result<std::shared_ptr<db::SnapshotReader>> reader = make_error(ErrorCode::kCancelled, "no answer");
};

// The pages of a snapshot in order, without the lock page.
PartEncoder::NextPage pages_of(std::shared_ptr<db::SnapshotReader> reader) {
  return [reader, pgno = std::uint32_t{0},
          page = Bytes(reader->page_size_bytes())]() mutable -> Result<std::optional<ltx::Page>> {
    if (++pgno == lock_pgno(reader->page_size_bytes()).value()) ++pgno;
    if (pgno > reader->page_count()) return std::optional<ltx::Page>();
    TRY(reader->read_page(Pgno(pgno), page));
    return std::optional(ltx::Page{Pgno(pgno), page});
  };
}

}  // namespace

Task<void> Replica::snapshot_loop(std::stop_token stop) {
  std::int64_t retry_ms = 0;
  while (!stop.stop_requested()) {
    (void)co_await snapshot_.wait(0, stop);
    if (stop.stop_requested()) co_return;
    if (state_ == ReplicaState::kHalted) co_return;
    bool needed = state_ == ReplicaState::kSnapshot;  // else it can wait, and stopping does not wait for it
    snapshot_.reset();
    if (!needed && hurry_) continue;
    Status status = co_await take_snapshot(needed ? stop : background_.get_token());
    if (status) {
      retry_ms = 0;
      continue;
    }
    report("backup: snapshot", status.error());
    retry_ms = std::clamp(retry_ms * 2, c_.options.first_retry_ms, c_.options.last_retry_ms);
    co_await back_off(retry_ms, stop);
    snapshot_.set();
  }
}

Task<Status> Replica::take_snapshot(std::stop_token stop) {
  CO_TRY_ASSIGN(Slots::Slot slot, co_await c_.snapshot_slots.acquire(stop));
  auto answer = std::make_shared<SnapshotAnswer>(c_.loop);
  c_.databases.start_snapshot(name_, [&loop = c_.loop, answer](Result<std::shared_ptr<db::SnapshotReader>> reader) {
    loop.post([answer, reader = std::move(reader)]() mutable {
      answer->reader = std::move(reader);
      answer->ready.set();
    });
  });
  CO_TRY(co_await answer->ready.wait(0, stop));
  Result<std::shared_ptr<db::SnapshotReader>> taken = std::move(answer->reader);
  answer.reset();
  if (!taken && taken.error().code() == ErrorCode::kNotFound) {  // deleted meanwhile
    dropped_ = std::max(dropped_, durable_);
    c_.changed();
    co_return Status{};
  }
  if (!taken) co_return std::move(taken).error();
  std::shared_ptr<db::SnapshotReader> reader = std::move(*taken);
  if (reader->page_count() == 0) {
    dropped_ = std::max(dropped_, reader->position().txid);
    c_.changed();
    co_return Status{};
  }
  TimeMs begun = c_.clock.now();
  Position position = reader->position();
  std::int64_t wall_ms = reader->wall_ms();
  ltx::Header header;
  header.page_size_bytes = reader->page_size_bytes();
  header.commit = reader->page_count();
  header.min_txid = Txid(1);
  header.max_txid = position.txid;
  header.timestamp_ms = wall_ms;
  PartEncoder stream(header, position.checksum, c_.options.epoch, pages_of(std::move(reader)));
  ObjectInfo info{kSnapshotLevel, Txid(1), position.txid, 0, wall_ms};
  Status sent = co_await send_stream(info, stream, stop, position.txid);
  if (!sent && sent.error().code() == ErrorCode::kConflict)
    sent = co_await check_conflict(info, position.checksum, stop);
  CO_TRY(std::move(sent));
  info.size_bytes = stream.size_bytes();
  add_object(info);
  sent_since_trim_ += info.size_bytes;
  log_info("backup snapshot uploaded", {{"target", c_.target.url()},
                                        {"db", name_},
                                        {"txid", to_hex(position.txid)},
                                        {"bytes", std::to_string(info.size_bytes)},
                                        {"elapsed", fmt::format("{}ms", c_.clock.now() - begun)}});
  if (state_ == ReplicaState::kSnapshot) {
    page_size_ = header.page_size_bytes;
    dropped_ = Txid();
    advance(position, wall_ms);
    follow();
    co_await write_note();
    work_.set();
    c_.changed();
  }
  co_await give_memory_back();
  std::vector<ObjectInfo> expired = expired_snapshots(objects_, c_.clock.wall_ms(), c_.options.retention);
  co_return co_await remove_expired(std::move(expired), stop);
}

// When a level is compacted first: at once when the last boundary was missed, so that machines that never run for a
// whole interval do not pile objects up.
std::int64_t Replica::first_due_ms(const Level& level) const {
  std::int64_t next = next_boundary_ms(c_.clock.wall_ms(), level.interval_ms);
  std::int64_t newest = 0;
  for (const ObjectInfo& o : objects_) {
    if (o.level == level.level) newest = std::max(newest, o.created_ms);
  }
  bool missed = !objects_.empty() && newest < next - level.interval_ms;
  return missed ? c_.clock.wall_ms() : next;
}

Task<void> Replica::maintain_loop(std::stop_token stop) {
  if (!co_await following_.wait(0, stop)) co_return;
  std::map<int, std::int64_t> due;  // per level, wall clock
  for (const Level& l : c_.options.levels) due[l.level] = first_due_ms(l);
  while (!stop.stop_requested()) {
    std::int64_t now = c_.clock.wall_ms();
    std::int64_t wait_ms = c_.options.retention_check_ms;
    for (const auto& [level, at] : due) wait_ms = std::min(wait_ms, std::max<std::int64_t>(at - now, 1));
    if (!co_await loop::sleep(c_.loop, wait_ms, stop)) co_return;
    now = c_.clock.wall_ms();
    for (const Level& l : c_.options.levels) {
      bool clock_set_back = due[l.level] - now > l.interval_ms;
      if (now < due[l.level] && !clock_set_back) continue;
      due[l.level] = next_boundary_ms(now, l.interval_ms);
      if (Status done = co_await compact(l.level, stop); !done) report("backup: compaction", done.error());
    }
    co_await give_memory_back();
    if (state_ != ReplicaState::kFollow) continue;
    std::vector<ObjectInfo> expired = expired_level0(objects_, now, c_.options.retention);
    if (Status done = co_await remove_expired(std::move(expired), stop); !done)
      report("backup: retention", done.error());
    if (snapshot_due(objects_, uploaded_.txid, now, c_.options.retention.snapshot_interval_ms)) snapshot_.set();
  }
}

Task<Status> Replica::remove_expired(std::vector<ObjectInfo> expired, std::stop_token stop) {
  if (expired.empty()) co_return Status{};
  CO_TRY(co_await c_.target.remove(name_, expired, stop));
  std::erase_if(objects_,
                [&](const ObjectInfo& o) { return std::find(expired.begin(), expired.end(), o) != expired.end(); });
  co_return Status{};
}

Task<Status> Replica::compact(int level, std::stop_token stop) {
  if (state_ != ReplicaState::kFollow) co_return Status{};
  std::vector<std::vector<ObjectInfo>> runs = plan_compaction(objects_, level);
  for (std::vector<ObjectInfo>& run : runs) {
    if (state_ != ReplicaState::kFollow) co_return Status{};
    CO_TRY_ASSIGN(Slots::Slot slot, co_await c_.slots.acquire(stop));
    CO_TRY(co_await compact_run(std::move(run), level, stop));
  }
  co_return Status{};
}

// From the local log where it still has these transactions (no request but the PUT), else from the objects themselves.
Task<Status> Replica::compact_run(std::vector<ObjectInfo> run, int level, std::stop_token stop) {
  Txid done = newest_at(objects_, level);
  Txid from = std::max(done, Txid(run.front().min.value() - 1));
  Txid upto = run.back().max;
  while (from < upto) {
    auto read = [this, from, upto] {
      return next_piece(c_.databases, name_, c_.recent.get(), from, upto, 0, c_.options.epoch,
                        c_.options.batch_limit_bytes);
    };
    Result<LogPiece> piece = co_await loop::offload(c_.loop, read);
    bool usable = piece && (piece->kind == LogPiece::Kind::kBatch || piece->kind == LogPiece::Kind::kGiant);
    // An object from the log may begin earlier than asked (a range); above the end of the level is where it must join.
    if (!usable || piece->position.txid > upto) {
      std::erase_if(run, [&](const ObjectInfo& o) { return o.max <= from; });
      co_return co_await compact_objects(std::move(run), level, stop);
    }
    from = piece->position.txid;
    CO_TRY(co_await send(std::move(*piece), level, stop));
  }
  co_return Status{};
}

Task<Status> Replica::compact_objects(std::vector<ObjectInfo> run, int level, std::stop_token stop) {
  std::size_t next = 0;
  while (next < run.size()) {
    if (run[next].size_bytes > kReadBackLimitBytes) {
      CO_TRY(co_await copy_object(run[next++], level, stop));
      continue;
    }
    PageBatch batch(c_.options.batch_limit_bytes);
    bool too_large = false;
    while (next < run.size() && run[next].size_bytes <= kReadBackLimitBytes) {
      CO_TRY_ASSIGN(Bytes data, co_await c_.target.read(name_, run[next], 0, run[next].size_bytes, stop));
      auto merge = [&batch, &data] {
        auto decoder = ltx::make_decoder(ltx::Version::kV3, ltx::source_of(data));
        return batch.add(*decoder);
      };
      Result<PageBatch::Added> added = co_await loop::offload(c_.loop, merge);
      if (!added) co_return std::move(added).error().context(to_text(run[next]));
      too_large = batch.empty();
      if (*added != PageBatch::Added::kAdded) break;
      ++next;
    }
    if (too_large) {
      CO_TRY(co_await copy_object(run[next++], level, stop));
      continue;
    }
    LogPiece piece;
    auto encode = [&batch, epoch = c_.options.epoch] { return batch.encode(epoch); };
    CO_TRY_ASSIGN(Bytes data, co_await loop::offload(c_.loop, encode));
    piece.min = batch.min();
    piece.position = batch.position();
    piece.timestamp_ms = batch.timestamp_ms();
    piece.data = std::make_shared<const Bytes>(std::move(data));
    CO_TRY(co_await send(std::move(piece), level, stop));
  }
  co_return Status{};
}

// One large object is its own compaction: the same bytes one level up.
Task<Status> Replica::copy_object(ObjectInfo from, int level, std::stop_token stop) {
  ObjectInfo to = from;
  to.level = level;
  CO_TRY_ASSIGN(std::unique_ptr<ObjectUpload> upload, co_await c_.target.start_upload(name_, to, stop));
  Checksum checksum;
  for (std::uint64_t at = 0; at < from.size_bytes; at += kCopyChunkBytes) {
    std::uint64_t length = std::min(kCopyChunkBytes, from.size_bytes - at);
    CO_TRY_ASSIGN(Bytes part, co_await c_.target.read(name_, from, at, length, stop));
    if (part.size() != length)
      co_return Error(ErrorCode::kCorrupt, fmt::format("{} ended at byte {}", to_text(from), at + part.size()));
    if (at == 0) {
      CO_TRY_ASSIGN(ltx::Header header, ltx::decode_header(part, ltx::Version::kV3));
      if (auto proof = header.cds1()) checksum = proof->post_apply;
    }
    CO_TRY(co_await upload->write(std::move(part), stop));
  }
  Status sent = co_await upload->finish(stop);
  if (!sent && sent.error().code() == ErrorCode::kConflict) sent = co_await check_conflict(to, checksum, stop);
  if (sent) add_object(to);
  co_return sent;
}

}  // namespace caddis::backup
