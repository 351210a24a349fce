#include "replica/receiver.h"

#include <algorithm>
#include <charconv>
#include <random>

#include "base/log.h"
#include "http/deadline.h"
#include "replica/backoff.h"
#include "replica/lanes.h"

namespace caddis::replica {
namespace {

constexpr std::size_t kReadBytes = 256u << 10;
constexpr std::size_t kMaxChannels = 16;
constexpr std::int64_t kHeldEveryMs = 1000;
constexpr std::int64_t kSettleMs = 2'000;
constexpr std::int64_t kHandoffSettleMs = 10'000;
constexpr std::int64_t kConflictsMs = 300;  // for further ones after the first
constexpr std::int64_t kLongestDelay = 16;  // times the reconnect delay

std::uint64_t parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

std::uint64_t parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

// LiteFS takes scheme and host of the URL and always speaks cleartext.
Result<std::string> stream_url(const std::string& url, const std::vector<std::string>& filter) {
  TRY_ASSIGN(http::Url parts, http::parse_url(url));
  std::string host = parts.host.find(':') == std::string::npos ? parts.host : "[" + parts.host + "]";
  std::string out = fmt::format("http://{}:{}/stream", host, parts.port);
  for (std::size_t i = 0; i < filter.size(); ++i) {
    out += (i == 0 ? "?filter=" : ",") + http::percent_encode(filter[i]);
  }
  return out;
}

}  // namespace

// One connection to a primary. Shared with the source of the request's body, which may outlive follow() by a moment.
struct Connection {
  Connection(loop::Loop& loop, bool own)
      : decoder(own ? FrameDecoder::Own::kAllowed : FrameDecoder::Own::kRefused), say(loop) {}
  FrameDecoder decoder;
  bool litefs = false;
  bool head_known = false, closed = false;
  Bytes out;  // of the request's body, not sent yet
  std::size_t out_begin = 0;
  PositionMap held;  // to be told
  bool facts_changed = true;
  loop::Event say;  // something above changed
  std::map<std::uint32_t, std::shared_ptr<Transfer>> channels;
  std::shared_ptr<Transfer> transfer;  // LiteFS's form
  std::stop_source stop;               // ends the reading
  std::optional<FollowEnd> end;        // why, when this node ends it
  std::vector<Conflict> conflicts;
  loop::Timer conflict_timer;
};

struct Receiver::State : std::enable_shared_from_this<Receiver::State> {
  State(loop::Loop& l, ReceiverOptions o) : loop(l), options(std::move(o)) {}
  loop::Loop& loop;
  ReceiverOptions options;
  std::shared_ptr<Lanes> lanes;
  std::shared_ptr<Connection> connection;
  Followed followed;
  std::atomic<std::int64_t> primary_wall_ms{0};
  loop::TaskGroup tasks;  // of the current follow()

  void make_lanes();
  void end(FollowEnd::Why why, std::string text);
  Task<FollowEnd> follow(std::string url, std::stop_token stop);
  Task<FollowEnd> read_stream(http::BodyReader& reader, std::stop_token stop);
  std::optional<FollowEnd> check_head(const http::BodyReader& reader, const std::string& url);
  std::optional<FollowEnd> take(const Frame& frame);
  Status take_ltx(const Frame& frame);
  void take_state(const replica::State& state);
  Task<void> announce_ready(std::uint64_t ticket, std::shared_ptr<Connection> c);
  Task<void> find_common(std::string name, std::vector<Position> theirs, std::shared_ptr<Connection> c);
  void heard_clock(std::int64_t wall_ms);
  PositionMap position_map() const;
  http::BodySource source(std::shared_ptr<Connection> c);
};

void Receiver::State::make_lanes() {
  LaneOptions o{.applier = options.applier,
                .node_id = options.node_id,
                .max_queued_files = options.max_queued_files,
                .max_queued_bytes = options.max_queued_bytes,
                .max_pending_bytes = options.max_pending_bytes,
                .stuck_ms = options.stuck_ms};
  o.on_applied = [this](const std::string& name, Position position) {
    if (connection == nullptr) return;
    connection->held[name] = position;
    connection->say.set();
  };
  o.on_failed = [this](const std::string& name, const Error& error) {
    bool conflict = error.code() == ErrorCode::kConflict;
    if (connection == nullptr) return log_warn("stream: a transaction was not applied", {{"cause", error.message()}});
    if (conflict) connection->conflicts.push_back({name, std::nullopt});
    end(conflict ? FollowEnd::Why::kConflict : FollowEnd::Why::kFailed, error.message());
  };
  o.on_behind = [this](const std::string& name) {
    if (connection != nullptr) end(FollowEnd::Why::kEnded, fmt::format("{} has caught up with its queue", name));
  };
  lanes = std::make_shared<Lanes>(loop, std::move(o));
}

void Receiver::State::end(FollowEnd::Why why, std::string text) {
  if (connection->end) return;
  connection->end = FollowEnd{.why = why, .text = std::move(text)};
  connection->stop.request_stop();
}

PositionMap Receiver::State::position_map() const {
  PositionMap map = options.applier->positions();
  for (auto& [name, position] : lanes->claims()) map[name] = position;
  if (!options.filter.empty()) {
    std::erase_if(map, [&](const auto& entry) {
      return std::find(options.filter.begin(), options.filter.end(), entry.first) == options.filter.end();
    });
  }
  return map;
}

// The request's body: the position map at once, then, to a caddis, what changes here, and a sign of life every second.
http::BodySource Receiver::State::source(std::shared_ptr<Connection> c) {
  return [c, facts = options.facts](std::uint64_t, ByteSpan out) -> Task<Result<std::size_t>> {
    while (c->out_begin == c->out.size()) {
      if (c->closed) co_return Error(ErrorCode::kCancelled, "the stream has ended");
      if (c->head_known && c->litefs) co_return std::size_t{0};
      bool something = c->head_known && (c->facts_changed || !c->held.empty());
      if (!something) {
        c->say.reset();
        (void)co_await c->say.wait(kHeldEveryMs, {});
        if (c->closed || !c->head_known || c->litefs) continue;
      }
      c->out.clear();
      c->out_begin = 0;
      if (std::exchange(c->facts_changed, false)) encode(c->out, facts ? facts() : Facts{});
      PositionMap held = std::exchange(c->held, {});
      encode(c->out, Held{{held.begin(), held.end()}});
    }
    std::size_t n = std::min(out.size(), c->out.size() - c->out_begin);
    std::copy_n(c->out.begin() + static_cast<std::ptrdiff_t>(c->out_begin), n, out.begin());
    c->out_begin += n;
    co_return n;
  };
}

Task<FollowEnd> Receiver::State::follow(std::string url, std::stop_token stop) {
  using Why = FollowEnd::Why;
  Result<std::string> target = stream_url(url, options.filter);
  if (!target) co_return FollowEnd{.why = Why::kUnreachable, .text = target.error().message()};
  connection = std::make_shared<Connection>(loop, true);
  std::shared_ptr<Connection> c = connection;
  PositionMap map = position_map();
  PositionMap claimed = lanes->claims();
  encode(c->out, map);
  for (const auto& [name, position] : map) {
    if (!claimed.contains(name)) c->held[name] = position;
  }
  followed = {};
  std::stop_callback outer(stop, [c] { c->stop.request_stop(); });
  http::ClientRequest request{.method = "POST", .url = *target, .source = source(c), .http2 = true};
  request.headers.add("Litefs-Id", format_node_id(options.node_id));
  if (options.own_frames) request.headers.add(std::string(kStreamHeader), "1");
  request.connect_timeout_ms = options.connect_timeout_ms;
  request.timeout_ms = options.connect_timeout_ms + options.silence_ms;
  request.idle_timeout_ms = options.silence_ms;
  FollowEnd result;
  auto reader = co_await options.client->open(std::move(request), c->stop.get_token());
  if (!reader) {
    result = {.why = Why::kUnreachable, .text = reader.error().message()};
  } else if (auto refused = check_head(**reader, url)) {
    result = std::move(*refused);
    Bytes text(512);
    if (result.why == Why::kRefused && result.text.empty()) {
      auto n = co_await (*reader)->read(text, c->stop.get_token());
      std::string_view body = as_text(ByteView(text).first(n.value_or(0)));
      result.text = http::status_error("stream from " + url, (*reader)->status(), body).message();
    }
  } else {
    result = co_await read_stream(**reader, stop);
  }
  if (reader) reader->reset();
  c->closed = true;
  c->say.set();
  c->stop.request_stop();
  c->conflict_timer.stop();
  lanes->drop_incomplete();
  co_await tasks.join();
  result.primary = followed.primary;
  result.was_ready = followed.ready;
  followed.connected = false;
  primary_wall_ms.store(0, std::memory_order_relaxed);
  if (stop.stop_requested()) result.why = Why::kStopped;
  bool handoff = result.why == Why::kHandoff;
  // What came completely is worth having whatever comes next.
  Status settled = co_await lanes->wait_applied(lanes->last_ticket(), handoff ? kHandoffSettleMs : kSettleMs,
                                                handoff ? stop : std::stop_token());
  if (handoff && c->end) result.text = c->end->text;
  if (handoff && !settled) result.text = settled.error().message();
  result.conflicts = std::move(c->conflicts);
  connection = nullptr;
  co_return result;
}

// Why nothing of this answer will be read, if so. Adopts the cluster id where there is none yet.
std::optional<FollowEnd> Receiver::State::check_head(const http::BodyReader& reader, const std::string& url) {
  using Why = FollowEnd::Why;
  if (reader.status() != 200) return FollowEnd{.why = Why::kRefused};
  const http::Headers& headers = reader.headers();
  Primary& p = followed.primary;
  p.node_id = parse_hex(headers.get("Litefs-Id"));
  p.cluster_id = headers.get("Litefs-Cluster-Id");
  p.litefs = headers.get(kStreamHeader) != "1";
  p.epoch = parse_decimal(headers.get(kEpochHeader));
  if (p.node_id != 0 && p.node_id == options.node_id) {
    return FollowEnd{.why = Why::kRefused, .text = fmt::format("{} is this node itself", url)};
  }
  std::uint64_t least = options.min_epoch ? options.min_epoch() : 0;
  if (!p.litefs && p.epoch < least) {
    return FollowEnd{
        .why = Why::kRefused,
        .text = fmt::format("the primary at {} is of term {}, a later one, {}, is known", url, p.epoch, least)};
  }
  std::string own = options.cluster_id ? options.cluster_id() : "";
  if (own.empty() && !p.cluster_id.empty()) {
    Status adopted = options.adopt_cluster_id ? options.adopt_cluster_id(p.cluster_id) : Status();
    if (!adopted) return FollowEnd{.why = Why::kFailed, .text = "store the cluster id: " + adopted.error().message()};
    own = p.cluster_id;
  }
  if (own != p.cluster_id) {
    std::string theirs = p.cluster_id.empty() ? "none" : p.cluster_id;
    return FollowEnd{.why = Why::kOtherCluster,
                     .text = fmt::format("cannot stream from primary with a different cluster id: {} <> {}; if this "
                                         "volume shall join that cluster, run: caddis adopt {}",
                                         own, theirs, theirs)};
  }
  connection->litefs = p.litefs;
  connection->head_known = true;
  if (p.litefs) connection->decoder = FrameDecoder(FrameDecoder::Own::kRefused);
  connection->say.set();
  followed.connected = true;
  return std::nullopt;
}

Task<FollowEnd> Receiver::State::read_stream(http::BodyReader& reader, std::stop_token stop) {
  using Why = FollowEnd::Why;
  std::shared_ptr<Connection> c = connection;
  Bytes buffer(kReadBytes);
  http::Deadline silence(c->litefs ? options.litefs_silence_ms : options.silence_ms);
  for (;;) {
    Status room = co_await lanes->wait_room(c->stop.get_token());
    Result<std::size_t> n = room ? co_await reader.read(buffer, c->stop.get_token()) : Result<std::size_t>(0);
    if (c->end) co_return *c->end;
    if (stop.stop_requested()) co_return FollowEnd{.why = Why::kStopped};
    if (!n && n.error().code() == ErrorCode::kTimeout) {
      if (!silence.passed()) continue;
      co_return FollowEnd{.why = Why::kSilent, .text = n.error().message()};
    }
    if (!n) co_return FollowEnd{.why = Why::kEnded, .text = n.error().message()};
    if (*n == 0) co_return FollowEnd{.why = Why::kEnded, .text = "the primary closed the stream"};
    silence = http::Deadline(c->litefs ? options.litefs_silence_ms : options.silence_ms);
    followed.heard_ms = options.clock->now().value();
    for (ByteView in = ByteView(buffer).first(*n);;) {
      Result<std::optional<Frame>> frame = c->decoder.next(in);
      if (!frame) co_return FollowEnd{.why = Why::kFailed, .text = "next frame: " + frame.error().message()};
      if (!*frame) break;
      if (auto end = take(**frame)) co_return std::move(*end);
    }
  }
}

Status Receiver::State::take_ltx(const Frame& frame) {
  Connection& c = *connection;
  if (const auto* begin = std::get_if<LtxBegin>(&frame)) {
    c.transfer = lanes->begin(begin->name, c.litefs);
  } else if (const auto* bytes = std::get_if<LtxBytes>(&frame)) {
    lanes->data(*c.transfer, bytes->bytes);
  } else if (std::get_if<LtxEnd>(&frame)) {
    lanes->end(*std::exchange(c.transfer, nullptr), true);
  } else if (const auto* open = std::get_if<Open>(&frame)) {
    if (c.channels.size() >= kMaxChannels) return corrupt("more than {} channels are open", kMaxChannels);
    auto [it, fresh] = c.channels.emplace(open->channel, nullptr);
    if (!fresh) return corrupt("channel {} is open", open->channel);
    it->second = lanes->begin(open->name, false);
  } else if (const auto* data = std::get_if<Data>(&frame)) {
    auto it = c.channels.find(data->channel);
    if (it == c.channels.end()) return corrupt("channel {} is not open", data->channel);
    lanes->data(*it->second, data->bytes);
  } else if (const auto* close = std::get_if<Close>(&frame)) {
    auto it = c.channels.find(close->channel);
    if (it == c.channels.end()) return corrupt("channel {} is not open", close->channel);
    lanes->end(*it->second, close->complete);
    c.channels.erase(it);
  }
  return {};
}

std::optional<FollowEnd> Receiver::State::take(const Frame& frame) {
  using Why = FollowEnd::Why;
  std::shared_ptr<Connection> c = connection;
  if (const auto* heartbeat = std::get_if<Heartbeat>(&frame)) {
    heard_clock(heartbeat->wall_ms);
    if (c->litefs && options.on_heard) options.on_heard(followed);
  } else if (const auto* state = std::get_if<replica::State>(&frame)) {
    take_state(*state);
  } else if (std::get_if<Ready>(&frame)) {
    tasks.spawn(announce_ready(lanes->last_ticket(), c));
  } else if (std::get_if<End>(&frame)) {
    return FollowEnd{.why = Why::kEnded, .text = "the primary ended the stream"};
  } else if (const auto* handoff = std::get_if<Handoff>(&frame)) {
    return FollowEnd{.why = Why::kHandoff, .lease_id = handoff->lease_id};
  } else if (const auto* hwm = std::get_if<Hwm>(&frame)) {
    if (options.on_hwm) options.on_hwm(hwm->name, hwm->txid);
  } else if (const auto* drop = std::get_if<DropDb>(&frame)) {
    // A LiteFS would have us drop it, long ago; today a drop is a transaction.
    log_debug("stream: the primary does not have a database", {{"db", drop->name}});
  } else if (const auto* past = std::get_if<Past>(&frame)) {
    tasks.spawn(find_common(past->name, past->positions, c));
  } else if (Status taken = take_ltx(frame); !taken) {
    return FollowEnd{.why = Why::kFailed, .text = taken.error().message()};
  }
  return std::nullopt;
}

void Receiver::State::heard_clock(std::int64_t wall_ms) {
  followed.primary_wall_ms = wall_ms;
  primary_wall_ms.store(wall_ms, std::memory_order_relaxed);
}

void Receiver::State::take_state(const replica::State& state) {
  if (state.epoch != followed.primary.epoch) {
    return end(FollowEnd::Why::kRefused,
               fmt::format("the primary went from term {} to {} within a stream", followed.primary.epoch, state.epoch));
  }
  heard_clock(state.wall_ms);
  for (const auto& [name, position] : state.positions) {
    if (followed.positions.size() < kMaxDatabases || followed.positions.contains(name)) {
      followed.positions[name] = position;
    }
  }
  if (options.on_heard) options.on_heard(followed);
}

Task<void> Receiver::State::announce_ready(std::uint64_t ticket, std::shared_ptr<Connection> c) {
  Status applied = co_await lanes->wait_applied(ticket, 0, c->stop.get_token());
  if (!applied || c->end) co_return;
  if (!c->conflicts.empty()) co_return end(FollowEnd::Why::kConflict, "this node has transactions the primary has not");
  followed.ready = true;
  if (options.on_ready) options.on_ready(followed.primary);
}

// The primary says that it does not have our position of this database, and what it has.
Task<void> Receiver::State::find_common(std::string name, std::vector<Position> theirs, std::shared_ptr<Connection> c) {
  std::shared_ptr<State> self = shared_from_this();
  Txid upto = theirs.empty() ? Txid() : theirs.front().txid;
  Applier& applier = *options.applier;
  auto read = [&applier, &name, upto] { return applier.past(name, upto); };
  Result<std::vector<Position>> ours = co_await loop::offload(loop, read);
  std::optional<Position> common;
  if (ours) {
    PositionMap now = applier.positions();
    ours->insert(ours->begin(), now[name]);
    for (const Position& p : theirs) {
      if (common || std::find(ours->begin(), ours->end(), p) == ours->end()) continue;
      common = p;
    }
    if (common && *common == now[name]) {  // it was only late: this is where to go on from
      c->held[name] = *common;
      co_return c->say.set();
    }
  }
  c->conflicts.push_back({name, common});
  if (!c->conflict_timer.active()) {
    c->conflict_timer = loop::Timer::after(loop, kConflictsMs, [this, c] {
      if (connection == c) end(FollowEnd::Why::kConflict, "this node has transactions the primary has not");
    });
  }
}

// ---- Receiver

Receiver::Receiver(loop::Loop& loop, ReceiverOptions options)
    : state_(std::make_shared<State>(loop, std::move(options))) {
  state_->make_lanes();
}
Receiver::~Receiver() = default;

Task<FollowEnd> Receiver::follow(std::string url, std::stop_token stop) {
  CHECK(state_->connection == nullptr);
  return state_->follow(std::move(url), std::move(stop));
}

Task<FollowEnd> Receiver::keep_following(std::string url, std::int64_t reconnect_delay_ms, std::stop_token stop) {
  using Why = FollowEnd::Why;
  std::shared_ptr<State> s = state_;
  std::mt19937_64 random(std::random_device{}());
  Backoff backoff(reconnect_delay_ms, kLongestDelay * reconnect_delay_ms);
  for (;;) {
    FollowEnd end = co_await s->follow(url, stop);
    bool over = end.why == Why::kStopped || end.why == Why::kOtherCluster || end.why == Why::kHandoff ||
                end.why == Why::kConflict;
    if (over) co_return end;
    if (end.was_ready) backoff.reset();
    std::int64_t delay_ms = backoff.next_ms(random());
    log_info("disconnected from primary, retrying",
             {{"url", url}, {"cause", end.text}, {"ms", std::to_string(delay_ms)}});
    if (!co_await loop::sleep(s->loop, delay_ms, stop)) co_return FollowEnd{.why = Why::kStopped};
  }
}

Task<Status> Receiver::settle(std::int64_t timeout_ms, std::stop_token stop) {
  return state_->lanes->wait_applied(state_->lanes->last_ticket(), timeout_ms, std::move(stop));
}

void Receiver::facts_changed() {
  if (state_->connection == nullptr) return;
  state_->connection->facts_changed = true;
  state_->connection->say.set();
}

const Followed& Receiver::followed() const { return state_->followed; }
std::int64_t Receiver::primary_wall_ms() const { return state_->primary_wall_ms.load(std::memory_order_relaxed); }

}  // namespace caddis::replica
