// For tests: a proxy between raw clients and a raw server, all on one loop.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "loop/stream.h"
#include "proxy/proxy.h"
#include "proxy/scripted_node.h"

namespace caddis::proxy::testing_support {

using loop::Task;

// One side of a connection, with everything that has arrived on it.
class Peer {
 public:
  explicit Peer(std::unique_ptr<loop::Stream> stream) : stream_(std::move(stream)) {}
  // Sends all of it; false when the other side is gone.
  Task<bool> send(std::string bytes) {
    Status ok = co_await stream_->write(as_bytes(bytes), 10'000, {});
    co_return ok.has_value();
  }
  // Reads until marker has arrived (behind what was taken before) and takes everything up to its end; what came
  // instead, with "<end>" or "<time>", when it does not.
  Task<std::string> until(std::string marker, std::int64_t timeout_ms = 10'000) {
    for (;;) {
      std::size_t at = got_.find(marker);
      if (at != std::string::npos) {
        std::string taken = got_.substr(0, at + marker.size());
        got_.erase(0, at + marker.size());
        co_return taken;
      }
      std::string end = co_await more(timeout_ms);
      if (!end.empty()) co_return std::exchange(got_, "") + end;
    }
  }
  Task<std::string> head() { return until("\r\n\r\n"); }
  Task<std::string> exactly(std::size_t size) {
    while (got_.size() < size) {
      std::string end = co_await more(10'000);
      if (!end.empty()) co_return std::exchange(got_, "") + end;
    }
    std::string taken = got_.substr(0, size);
    got_.erase(0, size);
    co_return taken;
  }
  // Everything until the other side closes.
  Task<std::string> rest(std::int64_t timeout_ms = 10'000) {
    for (;;) {
      std::string end = co_await more(timeout_ms);
      if (end == "<end>") co_return std::exchange(got_, "");
      if (!end.empty()) co_return std::exchange(got_, "") + end;
    }
  }
  Task<void> half_close() { (void)co_await stream_->shutdown_write(); }
  loop::Stream& stream() { return *stream_; }
  void close() { stream_->close(); }

 private:
  Task<std::string> more(std::int64_t timeout_ms) {
    Bytes buf(64 * 1024);
    Result<std::size_t> n = co_await stream_->read(buf, timeout_ms, {});
    if (n && *n > 0) {
      got_ += as_text(ByteView(buf).first(*n));
      co_return std::string();
    }
    bool late = !n && n.error().code() == ErrorCode::kTimeout;
    co_return late ? std::string("<time>") : std::string("<end>");
  }
  std::unique_ptr<loop::Stream> stream_;
  std::string got_;
};

// An app that does what a test says with each of its connections (counted from 1).
class RawServer {
 public:
  using Script = std::function<Task<void>(Peer&, int)>;
  explicit RawServer(loop::Loop& loop, Script script, std::uint16_t port = 0) : script_(std::move(script)) {
    auto listener = loop::listen_tcp(loop, {"127.0.0.1", port});
    EXPECT_TRUE(listener) << listener.error().message();
    listener_ = std::move(*listener);
    accept();
  }
  ~RawServer() {  // ends its scripts, which wait for bytes
    listener_->close();
    for (Peer* peer : std::vector<Peer*>(peers_)) peer->close();
  }
  std::uint16_t port() const { return listener_->port(); }
  int connections() const { return connections_; }

 private:
  loop::Detached accept() {
    for (;;) {
      auto stream = co_await listener_->accept({});
      if (!stream) co_return;
      serve(std::move(*stream), ++connections_);
    }
  }
  loop::Detached serve(std::unique_ptr<loop::Stream> stream, int number) {
    Script script = script_;
    Peer peer(std::move(stream));
    peers_.push_back(&peer);
    co_await script(peer, number);
    std::erase(peers_, &peer);
  }
  Script script_;
  std::unique_ptr<loop::Listener> listener_;
  std::vector<Peer*> peers_;
  int connections_ = 0;
};

inline std::string ok_answer(std::string_view body, std::string_view fields = "") {
  return fmt::format("HTTP/1.1 200 OK\r\n{}Content-Length: {}\r\n\r\n{}", fields, body.size(), body);
}

// Answers every request without a body with its own head.
inline Task<void> echo_heads(Peer& peer, int) {
  for (;;) {
    std::string head = co_await peer.head();
    if (!head.ends_with("\r\n\r\n") || !co_await peer.send(ok_answer(head))) co_return;
  }
}

class ProxyBench : public testing::Test {
 protected:
  loop::Loop loop;
  ScriptedNode node{loop};
  ScriptedGate gate;
  Metrics metrics;
  Options options;
  std::unique_ptr<RawServer> app;
  std::unique_ptr<Proxy> proxy;

  ProxyBench() {
    options.addr = "127.0.0.1:0";
    options.db = "app.db";
    node.set_role({.primary = true});
  }
  ~ProxyBench() override {
    if (proxy) loop::run_until_done(loop, proxy->stop(0));
    proxy.reset();
    app.reset();
    (void)loop::run_until_done(loop, loop::sleep(loop, 1, {}));
  }
  void start(RawServer::Script script = echo_heads) {
    app = std::make_unique<RawServer>(loop, std::move(script));
    options.target = fmt::format("127.0.0.1:{}", app->port());
    start_proxy();
  }
  void start_proxy() {
    proxy = std::make_unique<Proxy>(loop, options, node, gate, metrics);
    Status ok = proxy->start();
    ASSERT_TRUE(ok) << ok.error().message();
  }
  Task<Peer> client() {
    auto stream = co_await loop::connect_tcp(loop, {"127.0.0.1", proxy->port()}, 2000, {});
    EXPECT_TRUE(stream) << stream.error().message();
    co_return Peer(std::move(*stream));
  }
  // Everything that comes back until the proxy closes.
  std::string raw(std::string wire, std::int64_t timeout_ms = 10'000) {
    auto body = [&]() -> Task<std::string> {
      Peer peer = co_await client();
      (void)co_await peer.send(wire);
      co_return co_await peer.rest(timeout_ms);
    };
    return loop::run_until_done(loop, body());
  }
  // A request with the last header "Connection: close"; the whole answer.
  std::string ask(const std::string& method, const std::string& path, const std::string& fields = "",
                  const std::string& body = "") {
    return raw(fmt::format("{} {} HTTP/1.1\r\nHost: h\r\n{}Connection: close\r\n\r\n{}", method, path, fields, body));
  }
  template <class T>
  T run(Task<T> task) {
    return loop::run_until_done(loop, std::move(task));
  }
  // Until it is so; a failure of the test after 10 s.
  template <class F>
  Task<void> eventually(F condition) {
    for (int i = 0; i < 10'000 && !condition(); ++i) (void)co_await loop::sleep(loop, 1, {});
    EXPECT_TRUE(condition());
  }
  double metric(std::string_view name) {
    std::string all = metrics.render();
    std::size_t at = all.find("\n" + std::string(name) + " ");
    return at == std::string::npos ? -1 : std::stod(all.substr(at + name.size() + 2));
  }
};

}  // namespace caddis::proxy::testing_support
