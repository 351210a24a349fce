#include "replica/lanes.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"

namespace caddis::replica {
namespace {

constexpr std::size_t kWriteBytes = 256u << 10;  // of a file that is not complete: written down in pieces of this size
constexpr std::size_t kBatchFiles = 64;

Status take_in(Applier& applier, Transfer& t, ByteView bytes, bool ended) {
  if (t.incoming == nullptr) {
    TRY_ASSIGN(t.incoming, applier.begin_incoming(t.name));
  }
  TRY(t.incoming->write(bytes));
  if (ended) TRY(t.incoming->finish());
  return {};
}

}  // namespace

Lanes::Lanes(loop::Loop& loop, LaneOptions options) : loop_(loop), options_(std::move(options)), changed_(loop) {}

Lanes::Lane& Lanes::lane(const std::string& name) {
  std::unique_ptr<Lane>& lane = lanes_[name];
  if (lane == nullptr) lane = std::make_unique<Lane>(name);
  return *lane;
}

std::shared_ptr<Transfer> Lanes::begin(const std::string& name, bool litefs) {
  auto transfer = std::make_shared<Transfer>();
  transfer->name = name;
  transfer->litefs = litefs;
  transfer->ticket = next_ticket_++;
  open_.insert(transfer->ticket);
  lane(name).transfers.push_back(transfer);
  return transfer;
}

void Lanes::data(Transfer& transfer, ByteView bytes) {
  Lane& l = lane(transfer.name);
  transfer.received += bytes.size();
  if (l.behind) return;
  append(transfer.pending, bytes);
  pending_bytes_ += bytes.size();
  if (transfer.pending.size() >= kWriteBytes) receive_soon(l);
}

void Lanes::end(Transfer& transfer, bool complete) {
  transfer.ended = true;
  transfer.complete = complete;
  receive_soon(lane(transfer.name));
}

void Lanes::drop_incomplete() {
  for (auto& [name, l] : lanes_) {
    for (const std::shared_ptr<Transfer>& t : l->transfers) {
      if (!t->ended) t->ended = true;  // and not complete
    }
    receive_soon(*l);
  }
}

void Lanes::finished(std::uint64_t ticket) {
  open_.erase(ticket);
  changed_.set();
}

Task<Status> Lanes::wait_room(std::stop_token stop) {
  while (pending_bytes_ > options_.max_pending_bytes && !relieve()) {
    changed_.reset();
    Status waited = co_await changed_.wait(options_.stuck_ms, stop);
    if (!waited && waited.error().code() == ErrorCode::kCancelled) co_return waited;
  }
  co_return {};
}

// Drops what the database that waits most has in memory, if it is stuck.
bool Lanes::relieve() {
  Lane* most = nullptr;
  std::size_t bytes = 0;
  for (auto& [name, l] : lanes_) {
    std::size_t pending = 0;
    for (const auto& t : l->transfers) pending += t->pending.size();
    bool stuck = !l->receiving && l->applying && l->stuck.passed();
    if (!stuck || pending <= bytes) continue;
    most = l.get();
    bytes = pending;
  }
  if (most == nullptr) return false;
  log_warn("stream: a database does not keep up; what comes for it is fetched again later",
           {{"db", most->name}, {"queued", std::to_string(most->queue.size())}});
  most->behind = true;
  for (const auto& t : most->transfers) {
    pending_bytes_ -= t->pending.size();
    t->pending.clear();
  }
  return true;
}

Task<Status> Lanes::wait_applied(std::uint64_t ticket, std::int64_t timeout_ms, std::stop_token stop) {
  std::shared_ptr<Lanes> self = shared_from_this();
  http::Deadline deadline(timeout_ms);
  while (!open_.empty() && *open_.begin() <= ticket) {
    if (deadline.passed()) {
      co_return Error(ErrorCode::kTimeout, fmt::format("{} transactions wait to be applied", open_.size()));
    }
    changed_.reset();
    Status waited = co_await changed_.wait(deadline.remaining_ms(), stop);
    if (!waited && waited.error().code() == ErrorCode::kCancelled) co_return waited;
  }
  co_return {};
}

PositionMap Lanes::claims() const {
  PositionMap out;
  for (const auto& [name, l] : lanes_) {
    if (l->applying || !l->queue.empty()) out[name] = l->claim;
  }
  return out;
}

// ---- receiving

void Lanes::receive_soon(Lane& l) {
  bool waits = full() && l.applying && !l.behind;  // for room on disk: tried again behind the next apply
  if (l.receiving || l.transfers.empty() || waits) return;
  l.receiving = true;
  loop::spawn(receive(l));
}

// What the pool does next for a database: complete files, or a piece of one that is still coming.
std::vector<Lanes::Work> Lanes::next_work(Lane& l) {
  std::vector<Work> batch;
  std::size_t room = options_.max_queued_files - std::min(queued_files_, options_.max_queued_files);
  for (const std::shared_ptr<Transfer>& t : l.transfers) {
    if (batch.size() >= room && l.applying && !l.behind) break;
    bool piece = batch.empty() && t->pending.size() >= kWriteBytes;
    if (!t->ended && !piece) break;
    batch.push_back({t, std::exchange(t->pending, {}), t->ended, {}});
    if (!t->ended || batch.size() == kBatchFiles) break;
  }
  return batch;
}

Task<void> Lanes::receive(Lane& l) {
  std::shared_ptr<Lanes> self = shared_from_this();
  for (;;) {
    std::vector<Work> batch = next_work(l);
    if (batch.empty()) break;
    bool behind = l.behind;
    auto work = [this, &batch, behind] {
      for (Work& w : batch) {
        Transfer& t = *w.transfer;
        if (behind || (w.ended && !t.complete))
          t.incoming.reset();
        else
          w.status = take_in(*options_.applier, t, w.bytes, w.ended);
      }
    };
    co_await loop::offload(loop_, work);
    for (Work& w : batch) received(l, w);
  }
  l.receiving = false;
  changed_.set();
  apply_next(l);
}

void Lanes::received(Lane& l, Work& w) {
  pending_bytes_ -= w.bytes.size();
  changed_.set();
  Transfer& t = *w.transfer;
  bool failed = !w.status;
  if (!w.ended && !failed) return;
  if (w.ended) l.transfers.pop_front();
  if (failed) {
    t.incoming.reset();
    t.complete = false;
    if (w.ended) finished(t.ticket);
    options_.on_failed(t.name, std::move(w.status).error().context("receive " + t.name));
    return;
  }
  if (!t.complete || t.incoming == nullptr || l.behind) {
    finished(t.ticket);
    return;
  }
  ++queued_files_;
  queued_bytes_ += t.received;
  l.claim = t.incoming->position();
  l.queue.push_back({std::move(t.incoming), t.ticket, t.received, t.litefs});
  apply_next(l);
}

// ---- applying

// `known`: this node has it already.
Status Lanes::check(const Lane& l, const Queued& item, bool& known) {
  const ltx::Header& header = item.ltx->header();
  bool own = header.node_id == options_.node_id && options_.node_id != 0;
  bool foreign_snapshot = item.litefs && header.is_snapshot();
  if (!own && !foreign_snapshot) return {};
  PositionMap positions = options_.applier->positions();
  Position here = positions[l.name];
  Position there = item.ltx->position();
  // Its own write on its way back.
  known = own && here.txid >= header.max_txid;
  if (known || !foreign_snapshot || here.txid == Txid()) return {};
  // A caddis says so before; a LiteFS just sends what it has.
  if (here.txid > there.txid || (here.txid == there.txid && here != there)) {
    return make_error(ErrorCode::kConflict, "position mismatch on db \"{}\": have {}, the primary's snapshot is at {}",
                      l.name, here, there);
  }
  return {};
}

void Lanes::apply_next(Lane& l) {
  while (!l.applying && !l.queue.empty()) {
    Queued item = std::move(l.queue.front());
    l.queue.pop_front();
    bool known = false;
    Status good = check(l, item, known);
    if (known || !good) {
      l.applying = true;
      applied(l, item.ticket, item.bytes,
              good ? Result<Position>(item.ltx->position()) : std::unexpected(good.error()));
      continue;
    }
    l.applying = true;
    l.stuck = http::Deadline(options_.stuck_ms);
    auto reply = [weak = weak_from_this(), loop = &loop_, &l, ticket = item.ticket,
                  bytes = item.bytes](Result<Position> result) {
      loop->post([weak, &l, ticket, bytes, result = std::move(result)]() mutable {
        std::shared_ptr<Lanes> self = weak.lock();
        if (self == nullptr) return;
        self->applied(l, ticket, bytes, std::move(result));
        self->apply_next(l);
        for (auto& [name, other] : self->lanes_) self->receive_soon(*other);
      });
    };
    options_.applier->apply(l.name, std::move(item.ltx), std::move(reply));
  }
  if (!l.applying && l.queue.empty() && !l.receiving && std::exchange(l.behind, false)) options_.on_behind(l.name);
}

void Lanes::applied(Lane& l, std::uint64_t ticket, std::uint64_t bytes, Result<Position> result) {
  l.applying = false;
  --queued_files_;
  queued_bytes_ -= bytes;
  finished(ticket);
  if (result) return options_.on_applied(l.name, *result);
  drop_queue(l);
  options_.on_failed(l.name, std::move(result).error().context("apply " + l.name));
}

void Lanes::drop_queue(Lane& l) {
  auto gone = std::make_shared<std::deque<Queued>>(std::exchange(l.queue, {}));
  for (const Queued& item : *gone) {
    --queued_files_;
    queued_bytes_ -= item.bytes;
    finished(item.ticket);
  }
  if (!gone->empty()) loop_.queue_work([gone] { gone->clear(); }, [] {});  // removes files
}

}  // namespace caddis::replica
