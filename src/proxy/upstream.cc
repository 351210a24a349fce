#include "proxy/upstream.h"

#include <algorithm>
#include <cerrno>
#include <optional>

namespace caddis::proxy {
namespace {
constexpr std::int64_t kRetryMs = 100;  // as LiteFS
constexpr std::int64_t kConnectTimeoutMs = 5'000;
constexpr std::int64_t kResolvedForMs = 5'000;  // a name's addresses
constexpr std::int64_t kWarmMs = 1'000;         // idle connections keep their buffer that long
constexpr std::size_t kMaxIdle = 100;           // as LiteFS

bool refused(const Error& e) { return e.sys_errno() == ECONNREFUSED; }
}  // namespace

Upstream::Upstream(loop::Loop& loop, const Clock& clock, loop::HostPort at)
    : loop_(loop), clock_(clock), at_(std::move(at)), tried_(loop) {
  if (at_.host.empty()) at_.host = "localhost";  // ":8081", as Go dials it
  host_ = loop::to_text({at_.host, at_.port});
}

std::unique_ptr<Link> Upstream::take(std::int64_t max_idle_ms) {
  TimeMs now = clock_.now();
  while (!idle_.empty()) {
    if (now - idle_.back()->since > max_idle_ms) return nullptr;  // and so are all before it
    std::unique_ptr<Link> link = std::move(idle_.back());
    idle_.pop_back();
    if (!link->stream->input_waits()) return link;  // else the server has closed it, or speaks out of turn
  }
  return nullptr;
}

void Upstream::keep(std::unique_ptr<Link> link) {
  if (!link->inlet.empty() || idle_.size() >= kMaxIdle) return;
  link->inlet.relax(Inlet::kUsual);
  link->kept = true;
  link->since = clock_.now();
  idle_.push_back(std::move(link));
}

void Upstream::drop_idle(std::int64_t max_idle_ms) {
  TimeMs now = clock_.now();
  std::erase_if(idle_, [&](const std::unique_ptr<Link>& link) {
    return now - link->since > max_idle_ms || link->stream->input_waits();
  });
  for (const auto& link : idle_) {
    if (now - link->since > kWarmMs) link->inlet.release();
  }
}

loop::Task<Result<std::unique_ptr<Link>>> Upstream::connect(std::int64_t patience_ms, std::stop_token stop) {
  TimeMs until = clock_.now() + patience_ms;
  for (;;) {
    std::int64_t left_ms = until - clock_.now();
    if (refusing_ && trying_ && left_ms > 0) {
      Status turn = co_await tried_.wait(left_ms, stop);
      if (!turn && turn.error().code() == ErrorCode::kCancelled) co_return std::move(turn).error();
      continue;
    }
    bool again = refusing_ && left_ms > 0;
    if (again) {
      trying_ = true;
      ++retries_;
      (void)co_await loop::sleep(loop_, std::min(kRetryMs, left_ms), stop);
    }
    Result<std::unique_ptr<Link>> link = co_await dial(stop);
    bool was_refused = !link && refused(link.error());
    if (link || was_refused) refusing_ = was_refused;
    if (again) {
      trying_ = false;
      tried_.set();
      tried_.reset();
    }
    if (!was_refused || until - clock_.now() <= 0) co_return link;
  }
}

loop::Task<Result<std::unique_ptr<Link>>> Upstream::dial(std::stop_token stop) {
  bool old = !loop::is_ip(at_.host) && clock_.now() - resolved_ > kResolvedForMs;
  if (addresses_.empty() || old) {
    auto found = co_await loop::resolve(loop_, at_.host, at_.port, kConnectTimeoutMs, stop);
    if (!found) co_return std::move(found).error();
    addresses_ = std::move(*found);
    resolved_ = clock_.now();
  }
  std::vector<loop::SocketAddress> addresses = addresses_;
  std::optional<Error> last;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    auto stream = co_await loop::connect_tcp(loop_, addresses[i], kConnectTimeoutMs, stop);
    if (stream) {
      std::rotate(addresses.begin(), addresses.begin() + static_cast<std::ptrdiff_t>(i),
                  addresses.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      addresses_ = std::move(addresses);
      auto link = std::make_unique<Link>();
      link->stream = std::move(*stream);
      co_return link;
    }
    // "Refused" is the answer worth waiting for, whichever address gave it.
    if (!last || !refused(*last)) last = std::move(stream).error();
    if (last->code() == ErrorCode::kCancelled) break;
  }
  addresses_.clear();
  co_return std::move(*last);
}

}  // namespace caddis::proxy
