// The HTTP proxy in front of the app, LiteFS's with more: reads wait until this node has what their client wrote,
// writes go to the primary, everything is streamed, upgrades are tunnelled. Loop thread only.
//
//   Proxy proxy(loop, options, node, gate, metrics);
//   proxy.listen();                 // optional: binds; answers 503, also to /litefs/health, until start()
//   proxy.start();                  // the app may be reached
//   proxy.drain();                  // new requests get 503 and Connection: close
//   co_await proxy.stop(2'000);     // drain, wait for what runs, cut the rest
//
// What happens to a request is the table in decide.h; how heads are rewritten is in rewrite.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "base/write_gate.h"
#include "loop/loop.h"
#include "proxy/node.h"

namespace caddis::proxy {

struct Options {
  std::string addr;                   // proxy.addr: ":8080", "[::]:8080", "fly-local-6pn:8080"
  std::string target;                 // proxy.target: "localhost:8081"
  std::string db;                     // proxy.db: the database of the cookie __txid
  std::vector<std::string> more_dbs;  // further ones, in the cookie __caddis_txids
  std::vector<std::string> passthrough, always_forward;
  // Behind Fly's proxy: writes are answered with fly-replay where that is possible, and its request fields are
  // believed.
  bool fly = false;
  bool debug = false;                                // a DEBUG line for each request
  std::int64_t max_lag_ms = 10'000;                  // 0: no limit
  std::int64_t primary_redirect_timeout_ms = 5'000;  // for a primary to be known and reached
  std::int64_t read_timeout_ms = 0;                  // from a request's first byte to its last; 0: none
  std::int64_t read_header_timeout_ms = 10'000;
  std::int64_t write_timeout_ms = 0;  // from a request's head to the last byte of its answer; 0: none
  std::int64_t idle_timeout_ms = 30'000;
  // No keys of the configuration.
  std::int64_t txid_timeout_ms = 5'000;     // of a read for what its client wrote: then 504
  std::int64_t word_timeout_ms = 1'000;     // for the primary to tell of a TXID that it has given out
  std::int64_t target_timeout_ms = 30'000;  // for an app that refuses connections to come up
  std::int64_t body_idle_ms = 60'000;       // without a byte of a request's body: 408
  std::int64_t stall_ms = 300'000;          // without a client or the app taking bytes
  std::int64_t fresh_ms = 500;              // idle connections that no app closes yet: for what may be sent only once
  std::size_t max_connections = 4096;       // of clients; more are answered 503
};

struct State;

class Proxy {
 public:
  // node, gate and metrics outlive the end of stop().
  Proxy(loop::Loop& loop, Options options, Node& node, const WriteGate& gate, Metrics& metrics);
  ~Proxy();  // cuts everything without waiting
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  Status listen();  // a taken port, or a target or address that cannot be read, is an error that names it
  Status start();   // listens, where listen() has not
  void drain();
  loop::Task<void> stop(std::int64_t grace_ms);

  std::uint16_t port() const;   // once bound
  std::string address() const;  // "[::]:8080" as bound
  std::size_t connections() const;
  std::size_t running() const;  // requests and upgraded connections

 private:
  std::shared_ptr<State> state_;
};

}  // namespace caddis::proxy
