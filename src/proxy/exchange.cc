#include "proxy/exchange.h"

#include <algorithm>
#include <ctime>

#include "base/log.h"
#include "proxy/cookies.h"

namespace caddis::proxy {
namespace {
constexpr std::int64_t kMisroutedMs = 1'000;  // for a hand-over that the sender knew of before this node
constexpr std::int64_t kGatePollMs = 20;      // a gate opens without telling
}  // namespace

Exchange::Exchange(State& s, Connection& c, const http::RequestView& request)
    : s_(s), c_(c), request_(request), body_(request.body) {
  ++s_.running;
  s_.count.running.set(static_cast<double>(s_.running));
}

Exchange::~Exchange() {
  CHECK(!pumping_);
  s_.exchange_ended();
}

loop::Task<Exchange::After> Exchange::run() {
  if (s_.options.write_timeout_ms > 0) c_.limit_exchange(s_.options.write_timeout_ms);
  classify();
  bool sent = co_await dispatch();
  if (!sent && !answering_ && cut_ == Cut::kBadBody) sent = co_await answer(400, "malformed body\n");
  if (!sent && !answering_ && cut_ == Cut::kLateBody) sent = co_await answer(408, "no body in time\n");
  if (!sent || cut_ == Cut::kClientGone || cut_ == Cut::kStopped) {
    cut_ = cut_ == Cut::kNo ? Cut::kClientGone : cut_;
    c_.stream().close();  // ends the pump
    co_await PumpEnd{*this};
    co_return After::kCut;
  }
  bool clean = co_await settle_body();
  if (clean) c_.use(inline_body_);
  if (clean && !close_) co_return After::kNext;
  co_return clean&& c_.input().empty() ? After::kClose : After::kLinger;
}

void Exchange::cut(Cut why) {
  if (cut_ != Cut::kNo) return;
  cut_ = why;
  if (waiting_) waiting_->request_stop();
  if (link_) link_->stream->close();
}

// A client that has announced the end of the connection may close its side and still wait for the answer.
void Exchange::client_ended() {
  if (tunnel_) return;
  if (request_.keep_alive || c_.failed()) cut(Cut::kClientGone);
}

// Which request it was is only certain when there is no other. Among several, the app's answer tells (5xx).
void Exchange::wrote_here() {
  if (at_app_ && link_ && s_.node.refused_writes() != refused_before_ && may_move()) cut(Cut::kWroteHere);
}

std::stop_token Exchange::waits() {
  if (!waiting_) waiting_.emplace();
  if (cut_ != Cut::kNo) waiting_->request_stop();
  if (!pumping_) c_.watch();
  return waiting_->get_token();
}

RequestRoute Exchange::route(std::string_view mark) const {
  return {.client_ip = c_.client_ip(),
          .default_host = s_.target->host(),
          .upgrade = facts_.upgrade,
          .fly = s_.options.fly,
          .mark = mark};
}

void Exchange::say(std::string_view what) const {
  if (!s_.options.debug) return;
  log_info(fmt::format("proxy: {} {}: {}", request_.method, request_.path, what));
}

// ---- what it is

void Exchange::classify() {
  const auto& fields = c_.request_fields();
  RequestNotes& notes = c_.notes();
  read_request(request_, fields, s_.options.fly, notes);
  if (notes.seen_ms) s_.node.request_time_seen(*notes.seen_ms);

  std::string_view path = request_.path;
  std::optional<std::string> decoded;
  if (path.find('%') != std::string_view::npos) decoded = http::percent_decode(path);
  if (decoded) path = *decoded;
  bool safe = request_.method == "GET" || request_.method == "HEAD";
  facts_ = {.passthrough = s_.passthrough.match(path),
            .health = safe && path == "/litefs/health",
            .write = !safe || notes.marked_write || s_.always_forward.match(path),
            .forwarded = notes.forwarded,
            .replayed = notes.replayed,
            .body_bytes = 0};
  if (request_.body.kind == http::BodyFraming::Kind::kLength) facts_.body_bytes = request_.body.length;
  if (request_.body.kind == http::BodyFraming::Kind::kChunked) facts_.body_bytes.reset();
  facts_.upgrade = notes.upgrade && facts_.body_bytes == 0u;
  facts_.write = facts_.write || facts_.upgrade;  // nobody knows what will be said there
  tracked_ = !facts_.passthrough && (!safe || notes.marked_write);

  Counters& count = s_.count;
  MetricValue& kind = facts_.passthrough ? count.passthrough
                      : facts_.health    ? count.health
                      : facts_.write     ? count.writes
                                         : count.reads;
  kind.inc();
}

NodeFacts Exchange::node_facts() const {
  const RoleView& role = s_.node.role();
  return {.primary = role.primary,
          .gate_open = role.primary && s_.gate.open(),
          .primary_named = !role.hostname.empty(),
          .primary_has_url = !role.proxy_url.empty(),
          .fly = s_.options.fly};
}

bool Exchange::may_move() const { return move_to_primary(facts_, node_facts()) != Action::kTarget; }

// ---- what becomes of it

loop::Task<bool> Exchange::dispatch() {
  if (s_.phase != State::Phase::kServing) {
    if (facts_.health && !facts_.passthrough) co_return co_await answer(503, "Proxy error: not serving\n");
    co_return co_await unavailable(s_.phase == State::Phase::kDraining ? "shutting down"
                                                                       : "the app is not started yet");
  }
  // Reads and passthrough paths do not depend on the role.
  Action action = facts_.write || facts_.health ? decide(facts_, node_facts()) : Action::kTarget;
  if (action == Action::kWait || action == Action::kMisrouted) action = co_await wait_for_role(action);
  if (cut_ != Cut::kNo) co_return false;
  switch (action) {
    case Action::kHealth:
      co_return co_await health();
    case Action::kTarget:
      if (!facts_.write && !facts_.passthrough && !co_await wait_for_txids()) co_return cut_ == Cut::kNo;
      co_return co_await to_app();
    case Action::kReplay:
      co_return co_await replay("");
    case Action::kForward:
      co_return co_await to_primary("request");
    case Action::kMisrouted:
      co_return co_await unavailable("this node is not the primary any more");
    case Action::kWait:
      break;
  }
  const RoleView& role = s_.node.role();
  if (role.primary) co_return co_await unavailable("this node cannot prove its lease at the moment");
  if (!role.hostname.empty()) co_return co_await unavailable("the address of the primary is not known");
  co_return co_await unavailable("no primary available");
}

// Until another decision can be made, within the time for it.
loop::Task<Action> Exchange::wait_for_role(Action action) {
  std::int64_t limit_ms = s_.options.primary_redirect_timeout_ms;
  if (action == Action::kMisrouted) limit_ms = std::min(limit_ms, kMisroutedMs);
  TimeMs until = s_.clock.now() + limit_ms;
  for (;;) {
    std::int64_t left_ms = until - s_.clock.now();
    bool again = action == Action::kWait || action == Action::kMisrouted;
    if (!again || left_ms <= 0 || cut_ != Cut::kNo || s_.phase != State::Phase::kServing) co_return action;
    bool gate = s_.node.role().primary;
    co_await s_.node.role_changed(gate ? std::min(left_ms, kGatePollMs) : left_ms, waits());
    action = decide(facts_, node_facts());
  }
}

loop::Task<bool> Exchange::health() {
  if (lag_exceeded(s_.node.lag_ms(), s_.options.max_lag_ms)) {
    co_return co_await answer(503, "Replication lag exceeded\n");
  }
  co_return co_await answer(200, "OK\n");
}

loop::Task<bool> Exchange::replay(std::string_view state) {
  s_.count.replayed.inc();
  std::string hostname = s_.node.role().hostname;
  say("not the primary, replayed on " + hostname);
  co_return co_await answer(200, "", fmt::format("Fly-Replay: instance={}{}\r\n", hostname, state));
}

loop::Task<bool> Exchange::unavailable(std::string_view why) {
  co_return co_await answer(503, fmt::format("Proxy error: {}\n", why), "Retry-After: 1\r\n");
}

// ---- reads

// False when the request was answered (504) or cut.
loop::Task<bool> Exchange::wait_for_txids() {
  std::optional<Txid> txid = c_.notes().txid;
  std::string_view others = c_.notes().txids;
  if (txid && !co_await wait_for_txid(s_.options.db, *txid)) co_return false;
  if (others.empty() || s_.options.more_dbs.empty()) co_return true;
  for (const DatabaseTxid& t : parse_txids_cookie(others)) {
    bool ours = std::find(s_.options.more_dbs.begin(), s_.options.more_dbs.end(), t.db) != s_.options.more_dbs.end();
    if (ours && !co_await wait_for_txid(t.db, t.txid)) co_return false;
  }
  co_return true;
}

loop::Task<bool> Exchange::wait_for_txid(const std::string& db, Txid wanted) {
  auto judge = [&] {
    return judge_txid({.wanted = wanted,
                       .here = s_.node.txid(db),
                       .primary = s_.node.role().primary,
                       .of_primary = s_.node.primary_txid(db)});
  };
  TxidWait wait = judge();
  if (wait == TxidWait::kServe) {
    auto here = s_.node.txid(db);
    if (here && *here < wanted) s_.count.unknown_txids.inc();
    co_return true;
  }
  TimeMs begun = s_.clock.now();
  s_.count.txid_waits.inc();
  TimeMs until = begun + s_.options.txid_timeout_ms;
  bool asked = false;
  for (;;) {
    std::int64_t left_ms = until - s_.clock.now();
    if (wait == TxidWait::kServe || left_ms <= 0 || cut_ != Cut::kNo) break;
    if (wait == TxidWait::kWaitAWord && asked) {
      s_.count.unknown_txids.inc();  // the primary has spoken since, and does not know it
      wait = TxidWait::kServe;
      break;
    }
    std::int64_t this_ms = wait == TxidWait::kWaitAWord ? std::min(left_ms, s_.options.word_timeout_ms) : left_ms;
    asked = wait == TxidWait::kWaitAWord;
    Status there = co_await s_.node.wait_for(db, wanted, std::max<std::int64_t>(this_ms, 1), waits());
    wait = there ? TxidWait::kServe : judge();
  }
  s_.count.txid_wait_seconds.add(static_cast<double>(s_.clock.now() - begun) / 1000.0);
  if (cut_ != Cut::kNo) co_return false;
  if (wait == TxidWait::kServe) co_return true;
  s_.count.txid_timeouts.inc();
  say(fmt::format("{} has not reached {}", db, wanted));
  (void)co_await answer(504, "Proxy timeout\n");
  co_return false;
}

// ---- the app of this machine

loop::Task<bool> Exchange::to_app() {
  gated_ = facts_.write && !facts_.passthrough;
  refused_before_ = s_.node.refused_writes();
  say("to the app");
  at_app_ = true;
  Sent sent = co_await deliver(*s_.target, route(""));
  at_app_ = false;
  if (sent == Sent::kMove) co_return co_await move();
  co_return sent == Sent::kAnswered;
}

loop::Task<bool> Exchange::move() {
  Action action = move_to_primary(facts_, node_facts());
  cut_ = Cut::kNo;
  waiting_.reset();
  s_.count.moved.inc();
  say("it writes, which only the primary can");
  if (action == Action::kReplay) co_return co_await replay(fmt::format(";state={}", kWriteState));
  if (action == Action::kForward) co_return co_await to_primary("write");
  co_return co_await unavailable("the request writes, and no primary is available");
}

// ---- the primary's proxy

loop::Task<bool> Exchange::to_primary(std::string_view mark) {
  TimeMs until = s_.clock.now() + s_.options.primary_redirect_timeout_ms;
  s_.count.forwarded.inc();
  for (;;) {
    std::string url = s_.node.role().proxy_url;
    std::shared_ptr<Upstream> peer = s_.peer(url);
    if (!peer) co_return co_await unavailable(fmt::format("the primary's address \"{}\" cannot be used", url));
    say("forwarded to " + url);
    link_ = peer->take(repeatable() ? kLinkIdleMs : s_.options.fresh_ms);
    if (!link_) {
      auto link = co_await peer->connect(0, waits());
      if (cut_ != Cut::kNo) co_return false;
      if (link) {
        link_ = std::move(*link);
      } else {
        std::int64_t left_ms = until - s_.clock.now();
        if (left_ms <= 0 || s_.phase != State::Phase::kServing) {
          co_return co_await unavailable("the primary cannot be reached: " + link.error().message());
        }
        co_await s_.node.role_changed(std::min<std::int64_t>(left_ms, 100), waits());
        if (cut_ != Cut::kNo) co_return false;
        NodeFacts now = node_facts();
        if (now.primary && now.gate_open) co_return co_await to_app();
        continue;
      }
    }
    to_peer_ = true;
    Sent sent = co_await deliver_over_link(*peer, route(mark));
    if (sent == Sent::kStale) continue;
    co_return sent == Sent::kAnswered;
  }
}

// ---- before an answer to a write leaves

loop::Task<std::string> Exchange::hold_back() {
  if (tracked_) {
    auto txids = co_await s_.node.captured(s_.dbs, waits());
    if (!txids && cut_ == Cut::kNo) s_.warn("proxy: the answer to a write is held back: " + txids.error().message());
    if (!txids) co_return "the write could not be captured; whether it was kept is not known";
    std::int64_t now = std::time(nullptr);
    std::vector<DatabaseTxid> others;
    for (std::size_t i = 0; i < txids->size() && i < s_.dbs.size(); ++i) {
      if (!(*txids)[i]) continue;
      if (i == 0)
        append_txid_cookie(own_fields_, *(*txids)[i], now);
      else
        others.push_back({s_.dbs[i], *(*txids)[i]});
    }
    append_txids_cookie(own_fields_, others, now);
  }
  if (co_await gate_opens()) co_return "";
  co_return "this node has lost its lease; whether the write was kept is not known";
}

// A doubt about the lease is mostly over at once; a lost lease is not.
loop::Task<bool> Exchange::gate_opens() {
  if (s_.gate.open()) co_return true;
  TimeMs until = s_.clock.now() + s_.options.primary_redirect_timeout_ms;
  for (;;) {
    std::int64_t left_ms = until - s_.clock.now();
    if (left_ms <= 0 || cut_ != Cut::kNo || !s_.node.role().primary) co_return false;
    co_await s_.node.role_changed(std::min(left_ms, kGatePollMs), waits());
    if (s_.gate.open()) co_return true;
  }
}

// ---- answers of our own

bool Exchange::closes() const {
  bool body_refused = request_.expect_continue && !continued_ && !body_seen_;  // the client sends it or not
  return !request_.keep_alive || s_.phase != State::Phase::kServing || body_refused;
}

loop::Task<bool> Exchange::answer(int status, std::string text, std::string_view own_fields) {
  link_.reset();
  if (answering_) co_return false;
  answering_ = true;
  close_ = closes();
  s_.count.answers(status).inc();
  if (status >= 500) say(text.substr(0, text.find('\n')));
  std::string& out = c_.scratch();
  out.clear();
  append_own_answer(out, status, own_fields, text, close_, request_.method == "HEAD");
  ByteView part = as_bytes(out);
  co_return (co_await to_client(std::span(&part, 1), part.size())).has_value();
}

}  // namespace caddis::proxy
