#include "replica/follower_stream.h"

#include <algorithm>

#include "base/log.h"

namespace caddis::replica {
namespace {

constexpr std::size_t kMaxLanes = 4;
constexpr std::size_t kMaxSnapshots = 3;  // of the lanes
constexpr std::int64_t kRetryMs = 1000;   // after an error of the disk
constexpr std::size_t kMaxPast = 2000;
constexpr std::int64_t kDurableStepMs = 2;
constexpr std::int64_t kEndMs = 2000;      // for a LiteFS's file to become complete when the term is over
constexpr std::size_t kFilesAtOnce = 512;  // looked at for one piece

}  // namespace

FollowerStream::FollowerStream(Publisher::State& state, http::Request& request, http::ResponseWriter& w,
                               std::uint64_t node_id, bool litefs, std::set<std::string> filter)
    : state_(state),
      request_(request),
      writer_(w),
      node_id_(node_id),
      litefs_(litefs),
      filter_(std::move(filter)),
      wake_(state.loop),
      heard_ms_(state.options.clock->now().value()) {
  state_.followers.push_back(this);
}

FollowerStream::~FollowerStream() { state_.followers.remove(this); }

Peer FollowerStream::peer() const {
  Peer p{.node_id = node_id_, .address = request_.peer, .litefs = litefs_, .facts = facts_, .ready = ready_};
  p.behind = dirty_.size() + lanes_ + later_ + snapshot_queue_.size() + diverged_.size();
  p.held = held_;
  p.heard_ms = heard_ms_;
  return p;
}

bool FollowerStream::confirms(const PositionMap& wanted) const {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& w) {
    auto held = held_.find(w.first);
    auto sent = at_.find(w.first);
    if (w.second.txid == Txid()) return true;
    if (held == held_.end() || sent == at_.end() || diverged_.contains(w.first)) return false;
    // Beyond it is enough: what it holds there it has from this stream.
    return held->second == w.second || (held->second.txid > w.second.txid && sent->second.txid > w.second.txid);
  });
}

void FollowerStream::end() {
  if (!ending_) end_by_ = http::Deadline(kEndMs);
  ending_ = true;
  wake_.set();
}

void FollowerStream::replace() {
  replaced_ = gone_ = true;
  gone_why_ = "it has come back with a new stream";
  wake_.set();
}

void FollowerStream::hand_off(std::shared_ptr<Handoff> handoff) {
  handoff_ = std::move(handoff);
  wake_.set();
}

Txid FollowerStream::hwm(const std::string& name) const {
  return state_.options.hwm ? state_.options.hwm(name) : Txid();
}

// ---- the round of the stream

Task<void> FollowerStream::run(PositionMap map, Bytes rest) {
  for (const auto& [name, position] : map) {
    at_[name] = position;
    mark(name);
  }
  for (const auto& [name, db] : state_.databases) {
    forwarded_from_[name] = db.position.txid.next();
    mark(name);
    if (in_dirty_.contains(name)) first_round_[name] = db.position.txid;
  }
  log_info("stream connected", {{"node", format_node_id(node_id_)}, {"address", request_.peer}});
  if (state_.options.on_joined) state_.options.on_joined(peer());
  tasks_.spawn(read_requests(std::move(rest)));
  Status sent = co_await write_all();
  if (handoff_ && !handoff_->status) {
    handoff_->status =
        make_error(ErrorCode::kUnavailable, "node {} left before its hand-over", format_node_id(node_id_));
    handoff_->done.set();
  }
  bool broken = !sent || (gone_ && !replaced_);
  bool whole = sent && !gone_ && exclusive_ == nullptr;
  if (whole) {
    Bytes end;
    encode(end, End{});
    whole = co_await writer_.write(end) && co_await writer_.finish();
  }
  gone_ = true;
  stop_lanes_.request_stop();
  request_.stop_reading();
  co_await tasks_.join();
  std::string cause = sent ? gone_why_ : sent.error().message();
  log_info("stream disconnected", {{"node", format_node_id(node_id_)}, {"address", request_.peer}, {"cause", cause}});
  if (state_.options.on_left) state_.options.on_left(peer(), broken);
}

// Returns when the stream is to end; an error when the follower is gone.
Task<Status> FollowerStream::write_all() {
  beat_ = http::Deadline(state_.options.heartbeat_ms);
  while (!gone_ && !request_.stop().stop_requested()) {
    if (ending_ && (exclusive_ == nullptr || end_by_.passed())) co_return {};
    start_lanes();
    if (ready_ && beat_.passed() && exclusive_ == nullptr) {
      CO_TRY(co_await write_beat());
    }
    if (Lane* lane = next_lane()) {
      Bytes blob = std::move(lane->blob);
      lane->blob = {};
      lane->full = false;
      lane->inside_after = lane->inside;
      exclusive_ = litefs_ && lane->inside ? lane : nullptr;
      lane->taken.set();
      CO_TRY(co_await writer_.write(blob));
      continue;
    }
    if (!ready_ && first_round_over()) {
      Bytes frame;
      encode(frame, Ready{});
      CO_TRY(co_await writer_.write(frame));
      CO_TRY(co_await write_beat());
      ready_ = true;
      if (state_.options.on_joined) state_.options.on_joined(peer());
      continue;
    }
    // A caddis takes heartbeats from the start: the first round may last.
    if (!ready_ && !litefs_ && beat_.passed()) {
      CO_TRY(co_await write_beat());
    }
    if (handoff_ && !handoff_->status && ready_ && drained()) co_return co_await write_handoff();
    bool beats = exclusive_ == nullptr && (ready_ || !litefs_);
    wake_.reset();
    (void)co_await wake_.wait(beats ? beat_.remaining_ms() : state_.options.heartbeat_ms, request_.stop());
  }
  co_return {};
}

Task<Status> FollowerStream::write_beat() {
  Bytes out;
  std::int64_t now = state_.options.clock->wall_ms();
  encode(out, Heartbeat{now});
  if (!litefs_) {
    replica::State state{now, state_.epoch, {}};
    for (const std::string& name : std::exchange(unstated_, {})) {
      if (const Durable* db = state_.find(name)) state.positions.emplace_back(name, db->position);
    }
    encode(out, state);
  }
  Status written = co_await writer_.write(out);
  beat_ = http::Deadline(state_.options.heartbeat_ms);
  co_return written;
}

Task<Status> FollowerStream::write_handoff() {
  std::shared_ptr<Handoff> handoff = handoff_;
  handoff->begun = true;
  Bytes frame;
  encode(frame, replica::Handoff{handoff->lease_id});
  Status sent = co_await writer_.write(frame);
  handoff->status = sent;
  handoff->done.set();
  co_return sent;
}

FollowerStream::Lane* FollowerStream::next_lane() {
  auto it = ready_lanes_.begin();
  if (exclusive_ != nullptr) it = std::find(it, ready_lanes_.end(), exclusive_);
  if (it == ready_lanes_.end()) return nullptr;
  Lane* lane = *it;
  ready_lanes_.erase(it);
  return lane;
}

// ---- what the follower says

Task<void> FollowerStream::read_requests(Bytes rest) {
  FrameDecoder decoder(litefs_ ? FrameDecoder::Own::kRefused : FrameDecoder::Own::kAllowed);
  bool good = take_frames(decoder, rest);
  Bytes buffer(16 * 1024);
  while (good) {
    Result<std::size_t> n = co_await request_.read(buffer);
    if (!n && n.error().code() == ErrorCode::kCancelled) co_return;  // this side ends
    good = n.has_value();
    if (!n) gone_why_ = n.error().message();
    if (n && *n == 0) co_return;  // a LiteFS has nothing more to say
    if (n) good = take_frames(decoder, ByteView(buffer).first(*n));
  }
  gone_ = true;
  if (gone_why_.empty()) gone_why_ = "the follower went away";
  wake_.set();
}

bool FollowerStream::take_frames(FrameDecoder& decoder, ByteView in) {
  heard_ms_ = state_.options.clock->now().value();
  for (;;) {
    Result<std::optional<Frame>> frame = decoder.next(in);
    if (!frame) {
      log_warn("stream: a follower is not understood",
               {{"node", format_node_id(node_id_)}, {"cause", frame.error().message()}});
      return false;
    }
    if (!*frame) return true;
    if (auto* facts = std::get_if<Facts>(&**frame)) {
      facts_ = std::move(*facts);
      if (state_.options.on_joined) state_.options.on_joined(peer());
    }
    if (auto* held = std::get_if<Held>(&**frame)) {
      for (auto& [name, position] : held->positions) {
        if (held_.size() >= kMaxDatabases && !held_.contains(name)) continue;
        held_[name] = position;
        if (at_[name] == position || diverged_.erase(name) == 0) continue;
        at_[name] = position;  // it has gone back to there
        mark(name);
      }
      state_.held.set();
      wake_.set();
    }
  }
}

// ---- databases on their way

void FollowerStream::moved(const std::string& name) {
  if (!filter_.empty() && !filter_.contains(name)) return;
  unstated_.insert(name);
  if (diverged_.contains(name)) return;
  mark(name);
  wake_.set();
}

void FollowerStream::mark(const std::string& name) {
  if (!filter_.empty() && !filter_.contains(name)) return;
  unstated_.insert(name);
  if (in_lane_.contains(name)) {
    again_.insert(name);
  } else if (in_dirty_.insert(name).second) {
    dirty_.push_back(name);
  }
}

void FollowerStream::start_lanes() {
  while (!ending_ && lanes_ < kMaxLanes && !dirty_.empty()) {
    std::string name = std::move(dirty_.front());
    dirty_.pop_front();
    in_dirty_.erase(name);
    in_lane_.insert(name);
    ++lanes_;
    tasks_.spawn(run_lane(std::move(name)));
  }
}

Task<void> FollowerStream::run_lane(std::string name) {
  Lane lane(state_.loop, name);
  Turn turn = Turn::kAgain;
  while (turn == Turn::kAgain && !gone_ && !stop_lanes_.stop_requested()) {
    turn = co_await send_next(lane);
    bool others_wait = !dirty_.empty() && !lane.inside;
    if (turn == Turn::kAgain && others_wait) break;
  }
  while (lane.full && !gone_) (void)co_await lane.taken.wait(0, stop_lanes_.get_token());
  ready_lanes_.remove(&lane);
  if (exclusive_ == &lane) gone_ = true;  // its file stays incomplete: nothing else can follow
  in_lane_.erase(name);
  --lanes_;
  if (turn == Turn::kDone) backlog_.erase(name);
  auto first = first_round_.find(name);
  bool caught_up = turn == Turn::kDone || (first != first_round_.end() && at_[name].txid >= first->second);
  if (first != first_round_.end() && (caught_up || diverged_.contains(name))) first_round_.erase(first);
  bool again = again_.erase(name) > 0 && turn == Turn::kDone && !diverged_.contains(name);
  if (turn == Turn::kAgain || again) mark(name);
  if (turn == Turn::kParked) snapshot_queue_.push_back(name);
  if (turn == Turn::kLater) {
    ++later_;
    (void)co_await loop::sleep(state_.loop, kRetryMs, stop_lanes_.get_token());
    --later_;
    mark(name);
  }
  wake_.set();
}

Task<void> FollowerStream::offer(Lane& lane, Bytes blob, bool inside) {
  while (lane.full && !stop_lanes_.stop_requested()) {
    lane.taken.reset();
    (void)co_await lane.taken.wait(0, stop_lanes_.get_token());
  }
  if (stop_lanes_.stop_requested()) co_return;
  lane.taken.reset();
  lane.blob = std::move(blob);
  lane.full = true;
  lane.inside = inside;
  ready_lanes_.push_back(&lane);
  wake_.set();
}

Task<FollowerStream::Turn> FollowerStream::send_next(Lane& lane) {
  const Durable* db = state_.find(lane.name);
  if (db == nullptr) {
    Bytes frame;
    encode(frame, DropDb{lane.name});
    co_await offer(lane, std::move(frame), false);
    at_.erase(lane.name);
    co_return Turn::kDone;
  }
  Position theirs = at_[lane.name], ours = db->position;
  if (ours.txid == Txid()) co_return Turn::kDone;
  switch (standing(theirs, ours)) {
    case Standing::kSame:
      co_return Turn::kDone;
    case Standing::kNew:
      if (db->dropped) co_return Turn::kDone;  // it was never there
      co_return co_await send_snapshot(lane, theirs);
    case Standing::kBehind:
      co_return co_await send_files(lane, theirs, ours);
    case Standing::kAhead:
      co_return co_await diverged(lane, theirs, ours, "it is ahead");
    case Standing::kDifferent:
      co_return co_await diverged(lane, theirs, ours, "the same TXID has another content");
  }
  co_return Turn::kDone;
}

Task<FollowerStream::Turn> FollowerStream::send_files(Lane& lane, Position from, Position to) {
  FilesQuestion q{
      .name = lane.name, .from = from, .follower = {node_id_, !litefs_}, .channel = channel_, .hwm = hwm(lane.name)};
  if (auto it = forwarded_from_.find(lane.name); it != forwarded_from_.end()) q.forwarded_from = it->second;
  channel_ += 1u << 16;
  Result<std::vector<db::LogEntry>> entries = co_await next_files(lane.name, from, to);
  if (entries) q.entries = std::move(*entries);
  auto read = [&engine = *state_.options.engine, &q, &entries]() -> Result<OutgoingFiles> {
    if (!entries) return std::unexpected(entries.error());
    return read_files(engine.log(), q);
  };
  Result<OutgoingFiles> files = co_await loop::offload(state_.loop, read);
  if (!files && files.error().code() == ErrorCode::kCorrupt) {
    log_error(fmt::format("stream of {}", lane.name), files.error(), "followers get a snapshot instead");
    co_return co_await send_snapshot(lane, from);
  }
  if (!files) {
    log_warn("stream: read the log", {{"db", lane.name}, {"cause", files.error().message()}});
    co_return Turn::kLater;
  }
  if (!files->frames.empty()) {
    co_await offer(lane, std::move(files->frames), false);
    at_[lane.name] = files->after;
    co_return Turn::kAgain;
  }
  switch (files->end) {
    case OutgoingFiles::End::kLarge: {
      auto open = [&files] { return large_file_pieces(std::move(files->large), files->large_bytes); };
      Result<std::unique_ptr<LtxPieces>> pieces = co_await loop::offload(state_.loop, open);
      if (pieces) co_return co_await send_pieces(lane, std::move(*pieces), true);
      log_error(fmt::format("stream of {}", lane.name), pieces.error(), "followers get a snapshot instead");
      co_return co_await send_snapshot(lane, from);
    }
    case OutgoingFiles::End::kDifferent:
      co_return co_await diverged(lane, from, to, files->why);
    case OutgoingFiles::End::kSnapshot:
    case OutgoingFiles::End::kMore:
      break;
  }
  log_info("stream: a snapshot is needed",
           {{"db", lane.name}, {"node", format_node_id(node_id_)}, {"cause", files->why}});
  co_return co_await send_snapshot(lane, from);
}

// The files of the log that follow a position, as many as may be needed for one piece.
Task<Result<std::vector<db::LogEntry>>> FollowerStream::next_files(std::string name, Position from, Position to) {
  const std::vector<db::LogEntry>& recent = state_.find(name)->recent;
  auto begin = std::find_if(recent.begin(), recent.end(), [&](const auto& e) { return e.min == from.txid.next(); });
  if (begin != recent.end()) {
    backlog_.erase(name);
    auto end = begin + std::min<std::ptrdiff_t>(recent.end() - begin, kFilesAtOnce);
    co_return std::vector<db::LogEntry>(begin, end);
  }
  auto known = backlog_.find(name);
  while (known != backlog_.end() && !known->second.empty() && known->second.front().max <= from.txid) {
    known->second.pop_front();
  }
  if (known == backlog_.end() || known->second.empty() || known->second.front().min != from.txid.next()) {
    auto list = [&engine = *state_.options.engine, &name, from, to]() -> Result<std::deque<db::LogEntry>> {
      TRY_ASSIGN(std::vector<db::LogEntry> all, engine.log().list(name));
      std::erase_if(all, [&](const auto& e) { return e.min <= from.txid || e.max > to.txid; });
      std::sort(all.begin(), all.end(),
                [](const auto& a, const auto& b) { return a.min != b.min ? a.min < b.min : a.max > b.max; });
      return std::deque<db::LogEntry>(std::make_move_iterator(all.begin()), std::make_move_iterator(all.end()));
    };
    Result<std::deque<db::LogEntry>> listed = co_await loop::offload(state_.loop, list);
    if (!listed) co_return std::move(listed).error();
    known = backlog_.insert_or_assign(name, std::move(*listed)).first;
  }
  auto end = known->second.begin() + std::min<std::ptrdiff_t>(std::ssize(known->second), kFilesAtOnce);
  co_return std::vector<db::LogEntry>(known->second.begin(), end);
}

// The follower has what this node has not. A caddis is told our past, goes back to what both have (keeping the rest)
// and says so; a LiteFS can only be given a snapshot, after its own has been saved.
Task<FollowerStream::Turn> FollowerStream::diverged(Lane& lane, Position theirs, Position ours, std::string why) {
  log_warn("stream: a follower has transactions that this node has not", {{"db", lane.name},
                                                                          {"node", format_node_id(node_id_)},
                                                                          {"theirs", to_text(theirs)},
                                                                          {"ours", to_text(ours)},
                                                                          {"cause", why}});
  if (litefs_) {
    if (state_.options.save_export) {
      co_await state_.options.save_export(peer(), lane.name, theirs, ours, stop_lanes_.get_token());
    }
    co_return co_await send_snapshot(lane, theirs);
  }
  Txid upto = std::min(theirs.txid, ours.txid);
  auto read = [&engine = *state_.options.engine, &lane, upto] {
    return log_positions(engine.log(), lane.name, upto, kMaxPast);
  };
  Result<std::vector<Position>> past = co_await loop::offload(state_.loop, read);
  if (!past) co_return Turn::kLater;
  Bytes frame;
  encode(frame, Past{lane.name, std::move(*past)});
  diverged_.insert(lane.name);
  co_await offer(lane, std::move(frame), false);
  co_return Turn::kDone;
}

Task<Result<std::shared_ptr<db::SnapshotReader>>> FollowerStream::take_snapshot(const std::string& name) {
  using Taken = Result<std::shared_ptr<db::SnapshotReader>>;
  std::shared_ptr<db::Database> database = state_.options.engine->find(name);
  if (database == nullptr) co_return Error(ErrorCode::kNotFound, fmt::format("database {} is not there", name));
  // Shared with the reply: it comes from the peer thread, perhaps when nobody waits any more.
  struct Shot {
    explicit Shot(loop::Loop& l) : there(l) {}
    loop::Event there;
    std::optional<Taken> taken;
  };
  auto shot = std::make_shared<Shot>(state_.loop);
  state_.options.engine->start_snapshot(database, [loop = &state_.loop, shot](Taken taken) {
    loop->post([shot, taken = std::move(taken)]() mutable {
      shot->taken.emplace(std::move(taken));
      shot->there.set();
    });
  });
  CO_TRY(co_await shot->there.wait(0, stop_lanes_.get_token()));
  Taken taken = std::move(*shot->taken);
  if (!taken) co_return std::move(taken).error();
  // What the image holds may not be durable yet, and then nobody may be told.
  for (;;) {
    const Durable* db = state_.find(name);
    if (db == nullptr || db->position.txid >= (*taken)->position().txid) co_return taken;
    CO_TRY(co_await loop::sleep(state_.loop, kDurableStepMs, stop_lanes_.get_token()));
  }
}

Task<FollowerStream::Turn> FollowerStream::send_snapshot(Lane& lane, Position theirs) {
  const Durable* db = state_.find(lane.name);
  if (db == nullptr) co_return Turn::kAgain;
  std::int64_t now = state_.options.clock->wall_ms();
  if (db->dropped) {
    Position after = db->position;
    Result<Bytes> ltx = drop_snapshot(after, db->page_size_bytes, state_.options.node_id, now);
    CHECK(ltx.has_value());
    LtxFraming framing(!litefs_, channel_++, lane.name);
    Bytes blob;
    framing.begin(blob);
    framing.bytes(blob, *ltx);
    framing.end(blob);
    co_await offer(lane, std::move(blob), false);
    at_[lane.name] = after;
    co_return Turn::kAgain;
  }
  if (snapshots_ >= kMaxSnapshots) co_return Turn::kParked;
  ++snapshots_;
  Turn turn = Turn::kLater;
  auto snapshot = co_await take_snapshot(lane.name);
  if (snapshot) {
    std::shared_ptr<LtxPieces> pieces =
        snapshot_pieces(std::move(*snapshot), state_.options.compress, state_.options.node_id, now);
    log_info("stream: sending a snapshot",
             {{"db", lane.name}, {"node", format_node_id(node_id_)}, {"position", to_text(pieces->position())}});
    turn = co_await send_pieces(lane, std::move(pieces), false);
  } else if (!stop_lanes_.stop_requested() && snapshot.error().code() != ErrorCode::kNotFound) {
    log_warn("stream: take a snapshot", {{"db", lane.name}, {"cause", snapshot.error().message()}});
  }
  --snapshots_;
  if (!snapshot_queue_.empty()) {
    std::string next = std::move(snapshot_queue_.front());
    snapshot_queue_.pop_front();
    mark(next);
  }
  co_return turn;
}

Task<FollowerStream::Turn> FollowerStream::send_pieces(Lane& lane, std::shared_ptr<LtxPieces> pieces, bool with_hwm) {
  LtxFraming framing(!litefs_, channel_++, lane.name);
  for (bool first = true, more = true; more; first = false) {
    Bytes blob;
    auto make = [&]() -> Result<bool> {
      Bytes ltx;
      TRY_ASSIGN(bool rest, pieces->next(ltx));
      blob.reserve(ltx.size() + 1024);
      if (first) framing.begin(blob);
      framing.bytes(blob, ltx);
      return rest;
    };
    Result<bool> made = co_await loop::offload(state_.loop, make);
    if (stop_lanes_.stop_requested()) co_return Turn::kDone;
    if (!made) {
      log_error(fmt::format("stream of {}", lane.name), made.error());
      blob.clear();
      framing.end(blob, false);
      if (!first && !blob.empty()) co_await offer(lane, std::move(blob), false);
      co_return Turn::kLater;  // to a LiteFS the stream has to be cut
    }
    more = *made;
    if (!more) framing.end(blob);
    if (!more && with_hwm) encode(blob, Hwm{lane.name, hwm(lane.name)});
    co_await offer(lane, std::move(blob), more);
  }
  at_[lane.name] = pieces->position();
  co_return Turn::kAgain;
}

}  // namespace caddis::replica
