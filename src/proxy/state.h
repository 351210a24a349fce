// Inside of src/proxy: what its connections share.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "loop/stream.h"
#include "proxy/pattern.h"
#include "proxy/proxy.h"
#include "proxy/upstream.h"

namespace caddis::proxy {

class Connection;
class Exchange;

// caddis_proxy_…
struct Counters {
  explicit Counters(Metrics& m);
  MetricValue &reads, &writes, &passthrough, &health, &malformed;  // requests_total{op}
  MetricValue& answers(int status) { return *classes_[static_cast<std::size_t>(status / 100 - 1) % 5]; }
  MetricValue &replayed, &forwarded, &moved;  // sent_to_primary_total{op}
  MetricValue &txid_waits, &txid_wait_seconds, &txid_timeouts, &unknown_txids;
  MetricValue& withheld;  // answers to writes that the gate did not let out
  MetricValue &target_errors, &target_retries;
  MetricValue &connections, &running, &tunnels;  // gauges

 private:
  MetricValue* classes_[5];
};

struct State {
  State(loop::Loop& l, Options o, Node& n, const WriteGate& g, Metrics& m);

  loop::Loop& loop;
  Options options;
  Node& node;
  const WriteGate& gate;
  SystemClock clock;
  Patterns passthrough, always_forward;
  std::vector<std::string> dbs;  // options.db and options.more_dbs
  Counters count;

  enum class Phase { kClosed, kBound, kServing, kDraining, kStopped };
  Phase phase = Phase::kClosed;
  std::unique_ptr<loop::Listener> listener;
  std::unique_ptr<Upstream> target;
  std::map<std::string, std::shared_ptr<Upstream>> peers;  // by proxy_url
  std::list<std::shared_ptr<Connection>> connections;
  std::size_t running = 0;  // exchanges and tunnels
  std::size_t tasks = 0;    // accept loop and connections
  loop::Event quiet;        // running came down to 0 while draining
  loop::Event ended;        // tasks came down to 0 while stopping
  loop::Timer sweeper;

  std::size_t large_buffers = 0;  // connections whose head did not fit into a usual one

  // At most one line a second: with an app that is down every request would write one.
  void warn(const std::string& text);
  // The proxy of another node, kept for the next request. nullptr for a URL that cannot be read.
  std::shared_ptr<Upstream> peer(const std::string& url);
  void on_refused_write();
  void sweep();
  void arm_sweeper();  // as long as there is something to look after
  void leave();        // a task has ended
  void exchange_ended();

 private:
  TimeMs warned_;
  std::size_t unsaid_ = 0;
};

}  // namespace caddis::proxy
