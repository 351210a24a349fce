#include "proxy/state.h"

#include <algorithm>

#include "base/log.h"
#include "http/message.h"
#include "proxy/connection.h"
#include "proxy/exchange.h"

namespace caddis::proxy {
namespace {

constexpr std::size_t kMaxPeers = 8;  // primaries of the past are forgotten

MetricValue& requests(Metrics& m, std::string_view op) {
  return m.counter("caddis_proxy_requests_total", "Requests to the proxy.", {{"op", std::string(op)}});
}
MetricValue& sent_on(Metrics& m, std::string_view op) {
  return m.counter("caddis_proxy_sent_to_primary_total",
                   "Requests that this replica sent on: replayed by Fly, forwarded, or moved when a read wrote.",
                   {{"op", std::string(op)}});
}

}  // namespace

Counters::Counters(Metrics& m)
    : reads(requests(m, "read")),
      writes(requests(m, "write")),
      passthrough(requests(m, "passthrough")),
      health(requests(m, "health")),
      malformed(requests(m, "malformed")),
      replayed(sent_on(m, "replay")),
      forwarded(sent_on(m, "forward")),
      moved(sent_on(m, "moved")),
      txid_waits(m.counter("caddis_proxy_txid_waits_total", "Reads that waited for what their client had written.")),
      txid_wait_seconds(m.counter("caddis_proxy_txid_wait_seconds_total", "Time they waited.")),
      txid_timeouts(m.counter("caddis_proxy_txid_timeouts_total", "Reads answered 504 because it did not arrive.")),
      unknown_txids(m.counter("caddis_proxy_unknown_txids_total", "Cookies ignored because no node gave them out.")),
      withheld(m.counter("caddis_proxy_withheld_answers_total",
                         "Answers to writes that were not sent because the lease could not be proved.")),
      target_errors(m.counter("caddis_proxy_target_errors_total", "Requests that the app gave no answer to (502).")),
      target_retries(
          m.counter("caddis_proxy_target_retries_total", "Requests sent again because a kept connection was closed.")),
      connections(m.gauge("caddis_proxy_connections", "Connections of clients.")),
      running(m.gauge("caddis_proxy_requests_running", "Requests and upgraded connections at this moment.")),
      tunnels(m.gauge("caddis_proxy_upgrades_running", "Upgraded connections, such as websockets, at this moment.")) {
  constexpr std::string_view kClasses[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
  for (std::size_t i = 0; i < 5; ++i) {
    classes_[i] = &m.counter("caddis_proxy_answers_total", "Answers by the class of their status.",
                             {{"code", std::string(kClasses[i])}});
  }
}

State::State(loop::Loop& l, Options o, Node& n, const WriteGate& g, Metrics& m)
    : loop(l),
      options(std::move(o)),
      node(n),
      gate(g),
      passthrough(options.passthrough),
      always_forward(options.always_forward),
      count(m),
      quiet(l),
      ended(l) {
  dbs.push_back(options.db);
  dbs.insert(dbs.end(), options.more_dbs.begin(), options.more_dbs.end());
}

std::shared_ptr<Upstream> State::peer(const std::string& url) {
  auto it = peers.find(url);
  if (it != peers.end()) return it->second;
  Result<http::Url> parsed = http::parse_url(url);
  if (!parsed || parsed->tls) return nullptr;
  if (peers.size() >= kMaxPeers) peers.clear();
  auto made = std::make_shared<Upstream>(loop, clock, loop::HostPort{parsed->host, parsed->port});
  peers.emplace(url, made);
  return made;
}

void State::warn(const std::string& text) {
  TimeMs now = clock.now();
  if (now - warned_ < 1'000) {
    ++unsaid_;
    return;
  }
  warned_ = now;
  if (unsaid_ == 0)
    log_warn(text);
  else
    log_warn(text, {{"unsaid", std::to_string(unsaid_)}});
  unsaid_ = 0;
}

void State::on_refused_write() {
  if (running != 1) return;
  for (const auto& c : connections) {
    if (Exchange* only = c->running()) return only->wrote_here();
  }
}

void State::sweep() {
  TimeMs now = clock.now();
  std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
  for (const auto& c : all) c->sweep(now);
  if (target) target->drop_idle(kLinkIdleMs);
  for (const auto& [url, up] : peers) up->drop_idle(kLinkIdleMs);
  bool links = target && target->idle() > 0;
  for (const auto& [url, up] : peers) links = links || up->idle() > 0;
  if (connections.empty() && !links) sweeper.stop();
}

void State::arm_sweeper() {
  if (sweeper.active()) return;
  std::int64_t period_ms = 500;
  for (std::int64_t limit : {options.read_timeout_ms, options.read_header_timeout_ms, options.write_timeout_ms,
                             options.idle_timeout_ms, options.body_idle_ms}) {
    if (limit > 0) period_ms = std::clamp<std::int64_t>(limit / 4, 5, period_ms);
  }
  sweeper = loop::Timer::every(loop, period_ms, [this] { sweep(); });
}

void State::leave() {
  if (--tasks == 0 && phase == Phase::kStopped) ended.set();
}

void State::exchange_ended() {
  --running;
  count.running.set(static_cast<double>(running));
  if (running == 0 && phase == Phase::kDraining) quiet.set();
}

}  // namespace caddis::proxy
