#include "proxy/proxy.h"

#include "base/log.h"
#include "http/server.h"
#include "proxy/connection.h"
#include "proxy/exchange.h"
#include "proxy/state.h"

namespace caddis::proxy {
namespace {

constexpr std::int64_t kAcceptPauseMs = 100;  // after a failed accept (no descriptors)

loop::Detached serve(std::shared_ptr<State> s, std::unique_ptr<loop::Stream> stream) {
  auto connection = std::make_shared<Connection>(s, std::move(stream));
  if (s->connections.size() >= s->options.max_connections) {
    connection->refuse_at_once();
    co_return;
  }
  ++s->tasks;
  auto place = s->connections.insert(s->connections.end(), connection);
  s->count.connections.set(static_cast<double>(s->connections.size()));
  s->arm_sweeper();
  co_await connection->serve();
  s->connections.erase(place);
  s->count.connections.set(static_cast<double>(s->connections.size()));
  s->leave();
}

loop::Detached accept_loop(std::shared_ptr<State> s) {
  ++s->tasks;
  while (s->phase != State::Phase::kStopped) {
    Result<std::unique_ptr<loop::Stream>> stream = co_await s->listener->accept({});
    if (stream) {
      serve(s, std::move(*stream));
    } else if (s->phase != State::Phase::kStopped) {
      log_error("proxy: accept a connection", stream.error());
      (void)co_await loop::sleep(s->loop, kAcceptPauseMs, {});
    }
  }
  s->leave();
}

// Closing resumes what waits, which may end and leave the list.
void cut_all(State& s) {
  s.phase = State::Phase::kStopped;
  if (s.listener) s.listener->close();
  std::vector<std::shared_ptr<Connection>> all(s.connections.begin(), s.connections.end());
  for (const auto& c : all) c->cut();
  s.sweeper.stop();
}

}  // namespace

Proxy::Proxy(loop::Loop& loop, Options options, Node& node, const WriteGate& gate, Metrics& metrics)
    : state_(std::make_shared<State>(loop, std::move(options), node, gate, metrics)) {}

Proxy::~Proxy() {
  if (state_->phase == State::Phase::kClosed || state_->phase == State::Phase::kStopped) return;
  state_->node.on_refused_write({});
  cut_all(*state_);
}

Status Proxy::listen() {
  State& s = *state_;
  CHECK(s.phase == State::Phase::kClosed);
  auto target = loop::parse_host_port(s.options.target);
  if (!target || target->port == 0) {
    return invalid("proxy.target \"{}\": write the app's address as HOST:PORT, such as localhost:8081",
                   s.options.target);
  }
  auto listener = http::listen_on(s.loop, s.options.addr);
  if (!listener) return std::unexpected(std::move(listener).error().context("proxy.addr"));
  s.target = std::make_unique<Upstream>(s.loop, s.clock, std::move(*target));
  s.listener = std::move(*listener);
  s.phase = State::Phase::kBound;
  s.node.on_refused_write([state = state_.get()] { state->on_refused_write(); });
  accept_loop(state_);
  return {};
}

Status Proxy::start() {
  if (state_->phase == State::Phase::kClosed) TRY(listen());
  if (state_->phase == State::Phase::kBound) state_->phase = State::Phase::kServing;
  return {};
}

void Proxy::drain() {
  State::Phase& phase = state_->phase;
  if (phase == State::Phase::kBound || phase == State::Phase::kServing) phase = State::Phase::kDraining;
}

loop::Task<void> Proxy::stop(std::int64_t grace_ms) {
  std::shared_ptr<State> s = state_;
  drain();
  if (s->phase == State::Phase::kClosed) co_return;
  if (s->phase == State::Phase::kDraining && s->running > 0 && grace_ms > 0) (void)co_await s->quiet.wait(grace_ms, {});
  s->node.on_refused_write({});
  cut_all(*s);
  if (s->tasks > 0) (void)co_await s->ended.wait(0, {});
}

std::uint16_t Proxy::port() const { return state_->listener ? state_->listener->port() : std::uint16_t{0}; }
std::string Proxy::address() const { return state_->listener ? state_->listener->address() : std::string(); }
std::size_t Proxy::connections() const { return state_->connections.size(); }
std::size_t Proxy::running() const { return state_->running; }

}  // namespace caddis::proxy
