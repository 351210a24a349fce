// One server that requests are sent to, the app or the primary's proxy, and the connections kept to it. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "proxy/inlet.h"

namespace caddis::proxy {

inline constexpr std::int64_t kLinkIdleMs = 90'000;  // as LiteFS

struct Link {
  std::unique_ptr<loop::Stream> stream;
  Inlet inlet;
  bool kept = false;  // carried a request before: the server may have closed it meanwhile
  TimeMs since;       // when it was kept
};

class Upstream {
 public:
  Upstream(loop::Loop& loop, const Clock& clock, loop::HostPort at);

  // A kept connection on which nothing has arrived, idle for at most max_idle_ms; or nullptr.
  std::unique_ptr<Link> take(std::int64_t max_idle_ms);
  void keep(std::unique_ptr<Link> link);
  // While the server refuses connections, tried again every 100 ms for patience_ms (0: once); all who wait share the
  // attempts. Any other failure ends it at once. The error names the server.
  loop::Task<Result<std::unique_ptr<Link>>> connect(std::int64_t patience_ms, std::stop_token stop);

  void drop_idle(std::int64_t max_idle_ms);
  std::size_t idle() const { return idle_.size(); }
  const std::string& host() const { return host_; }  // for a Host header: "localhost:8081"
  std::uint64_t retries() const { return retries_; }

 private:
  loop::Task<Result<std::unique_ptr<Link>>> dial(std::stop_token stop);

  loop::Loop& loop_;
  const Clock& clock_;
  loop::HostPort at_;
  std::string host_;
  std::vector<std::unique_ptr<Link>> idle_;     // the freshest last
  std::vector<loop::SocketAddress> addresses_;  // the one that answered last in front; empty: to be looked up
  TimeMs resolved_;
  bool refusing_ = false;  // the last attempt was refused
  bool trying_ = false;    // somebody waits for the next one
  loop::Event tried_;
  std::uint64_t retries_ = 0;
};

}  // namespace caddis::proxy
