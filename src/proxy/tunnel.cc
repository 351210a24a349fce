#include "proxy/tunnel.h"

namespace caddis::proxy {
namespace {

struct Ends {
  Connection& client;
  Link& server;
  std::int64_t stall_ms;
  bool half = false;  // one side has ended

  void moved() {
    if (half) client.limit_exchange(stall_ms);
  }
  void one_ended() {
    half = true;
    moved();
  }
  void break_off() {
    client.stream().close();
    server.stream->close();
  }
};

// An idle websocket keeps the small buffer; it grows while there is much to carry.
loop::Task<void> from_client(Ends& ends) {
  Connection& c = ends.client;
  Inlet inlet;
  for (;;) {
    bool own = !c.input().empty();
    ByteView input = own ? c.input() : inlet.view();
    if (!input.empty()) {
      std::size_t n = input.size();
      if (!co_await ends.server.stream->write(input, ends.stall_ms, {})) co_return ends.break_off();
      own ? c.use(n) : inlet.consume(n);
      ends.moved();
    } else if (c.reading()) {
      (void)co_await c.more(0);
    } else if (c.ended()) {
      break;
    } else {
      inlet.relax(Inlet::kSmall);
      Result<std::size_t> n = co_await c.stream().read(inlet.room(Inlet::kSmall), 0, {});
      if (!n) co_return ends.break_off();
      if (*n == 0) break;
      inlet.took(*n);
    }
  }
  ends.one_ended();
  (void)co_await ends.server.stream->shutdown_write();
}

loop::Task<void> from_server(Ends& ends) {
  Inlet& inlet = ends.server.inlet;
  for (;;) {
    if (inlet.empty()) {
      inlet.relax(Inlet::kSmall);
      Result<std::size_t> n = co_await ends.server.stream->read(inlet.room(Inlet::kSmall), 0, {});
      if (!n) co_return ends.break_off();
      if (*n == 0) break;
      inlet.took(*n);
    }
    if (!co_await ends.client.stream().write(inlet.view(), ends.stall_ms, {})) co_return ends.break_off();
    inlet.consume(inlet.view().size());
    ends.moved();
  }
  ends.one_ended();
  (void)co_await ends.client.stream().shutdown_write();
}

}  // namespace

loop::Task<void> tunnel(Connection& client, Link& server, std::int64_t stall_ms) {
  Ends ends{client, server, stall_ms};
  loop::TaskGroup both;
  both.spawn(from_client(ends));
  both.spawn(from_server(ends));
  co_await both.join();
}

}  // namespace caddis::proxy
