#include "http/server.h"

#include <algorithm>
#include <list>
#include <vector>

#include "base/log.h"
#include "http/exchange.h"

namespace caddis::http {
namespace {
constexpr std::int64_t kAcceptPauseMs = 100;  // after a failed accept (no descriptors)
}  // namespace

void ServerState::close_listeners() {
  stopping = true;
  for (auto& l : listeners) l->close();
}

// close() resumes the coroutine that waits, which may end and leave the list.
void ServerState::cut(bool idle_only) {
  std::vector<Connection*> all(connections.begin(), connections.end());
  for (Connection* c : all) {
    bool there = std::find(connections.begin(), connections.end(), c) != connections.end();
    if (there && (!idle_only || !c->busy)) c->wire.stream().close();
  }
}

// ---- Exchange

Result<std::optional<std::uint64_t>> Exchange::check_answer(int status, const Headers& headers,
                                                            std::optional<std::uint64_t> whole) const {
  if (out != Out::kNotBegun) return make_error(ErrorCode::kInternal, "the answer was begun before");
  if (status < 200 || status > 599) return invalid("status {} cannot be answered", status);
  for (const Header& h : headers) {
    if (!is_token(h.name) || !is_field_value(h.value)) return invalid("header \"{}\" cannot be sent", h.name);
    if (equal_ignoring_case(h.name, "Transfer-Encoding")) return invalid("Transfer-Encoding is the server's to set");
    if (!equal_ignoring_case(h.name, "Content-Length")) continue;
    auto length = parse_content_length(h.value);
    if (!length || (whole && *whole != *length)) return invalid("Content-Length {} is wrong", h.value);
    whole = length;
  }
  return whole;
}

Status Exchange::count_out(std::size_t bytes) {
  if (out == Out::kNotBegun || out == Out::kFinished || out == Out::kFailed) {
    return make_error(ErrorCode::kUnavailable, "the answer is not open");
  }
  if (out != Out::kLength) return {};
  if (bytes > left) {
    out = Out::kFailed;
    return make_error(ErrorCode::kInternal, "the answer is longer than its Content-Length");
  }
  left -= bytes;
  return {};
}

Status Exchange::check_end() {
  TRY(count_out(0));
  if (out == Out::kLength && left > 0) {
    out = Out::kFailed;
    return make_error(ErrorCode::kInternal, "the answer is shorter than its Content-Length");
  }
  return {};
}

Task<void> run_handler(Exchange& x, Request& request, ResponseWriter& writer) {
  co_await x.server.handler(request, writer);
  if (x.out == Exchange::Out::kNotBegun && x.body_failure) {
    if (*x.body_failure == ErrorCode::kCorrupt) (void)co_await writer.send(400, {}, std::string("malformed body\n"));
    if (*x.body_failure == ErrorCode::kTimeout) (void)co_await writer.send(408, {}, std::string("no body in time\n"));
  } else if (x.out == Exchange::Out::kNotBegun) {
    log_error("http: a handler gave no answer", {{"method", request.method}, {"path", request.target.path}});
    (void)co_await writer.send(500, {}, std::string("internal error\n"));
  }
  if (x.out == Exchange::Out::kNoBody) x.out = Exchange::Out::kFinished;
}

// ---- Request

Task<Result<std::size_t>> Request::read(ByteSpan out) { return exchange->read(out); }
void Request::stop_reading() { exchange->reading.request_stop(); }

Task<Result<Bytes>> Request::read_all(std::size_t limit) {
  auto too_large = [&] {
    return Error(ErrorCode::kNoSpace, fmt::format("the request body is larger than {} bytes", limit));
  };
  Bytes all;
  auto length = content_length();
  if (length && *length > limit) co_return too_large();
  Bytes piece(16 * 1024);
  for (;;) {
    CO_TRY_ASSIGN(std::size_t n, co_await read(piece));
    if (n == 0) co_return all;
    if (n > limit - all.size()) co_return too_large();
    append(all, ByteView(piece).first(n));
  }
}

std::optional<std::uint64_t> Request::content_length() const { return exchange->content_length(); }
std::stop_token Request::stop() const { return exchange->server.stop.get_token(); }

// ---- ResponseWriter

Task<Status> ResponseWriter::send(int status, Headers headers, ByteView body) {
  return exchange_.send(status, std::move(headers), body);
}

Task<Status> ResponseWriter::send(int status, Headers headers, std::string body) {
  if (!headers.has("Content-Type")) headers.add("Content-Type", "text/plain; charset=utf-8");
  ByteView view = as_bytes(body);
  co_return co_await send(status, std::move(headers), view);
}

Task<Status> ResponseWriter::begin(int status, Headers headers) { return exchange_.begin(status, std::move(headers)); }
Task<Status> ResponseWriter::write(ByteView data) { return exchange_.write(data); }
Task<Status> ResponseWriter::finish() { return exchange_.finish(); }
bool ResponseWriter::begun() const { return exchange_.out != Exchange::Out::kNotBegun; }
void ResponseWriter::close_afterwards() { exchange_.close_afterwards(); }

// ---- connections

namespace {

// Whether the client begins with HTTP/2's preface (which stays in the buffer), or nothing when it is gone or too slow.
Task<std::optional<bool>> begins_http2(ServerState& s, Connection& c) {
  Deadline deadline(s.options.header_timeout_ms);
  for (;;) {
    std::string_view text = c.wire.buffered().substr(0, kHttp2Preface.size());
    if (text != kHttp2Preface.substr(0, text.size())) co_return false;
    if (text.size() == kHttp2Preface.size()) co_return true;
    Result<std::size_t> n = co_await c.wire.fill(deadline.remaining_ms(), {});
    if (n && *n > 0) continue;
    if (!text.empty()) {
      co_await refuse(s, c, 408, fmt::format("no complete head within {} ms", s.options.header_timeout_ms));
    }
    co_return std::nullopt;
  }
}

loop::Detached serve_connection(std::shared_ptr<ServerState> s, std::unique_ptr<loop::Stream> stream) {
  Connection c(std::move(stream));
  auto place = s->connections.insert(s->connections.end(), &c);
  ++s->running;
  if (s->connections.size() > s->options.max_connections) {
    co_await refuse(*s, c, 503, "too many connections");
  } else {
    std::optional<bool> http2 = co_await begins_http2(*s, c);
    if (http2 && *http2) co_await serve_http2(*s, c);
    if (http2 && !*http2) co_await serve_http1(*s, c);
  }
  s->connections.erase(place);
  s->leave();
}

loop::Detached accept_loop(std::shared_ptr<ServerState> s, loop::Listener& listener) {
  ++s->running;
  while (!s->stopping) {
    Result<std::unique_ptr<loop::Stream>> stream = co_await listener.accept({});
    if (stream) {
      serve_connection(s, std::move(*stream));
    } else if (!s->stopping) {
      log_error("http: accept a connection", stream.error());
      (void)co_await loop::sleep(s->loop, kAcceptPauseMs, s->stop.get_token());
    }
  }
  s->leave();
}

}  // namespace

// ---- Server

Result<std::unique_ptr<loop::Listener>> listen_on(loop::Loop& loop, const std::string& addr) {
  TRY_ASSIGN(loop::HostPort at, loop::parse_host_port(addr));
  loop::SocketAddress address{at.host, at.port};
  if (!at.host.empty() && !loop::is_ip(at.host)) {
    auto found = loop::resolve_now(loop, at.host, at.port);
    if (!found) return std::unexpected(std::move(found).error().context("listen on " + addr));
    auto four = std::find_if(found->begin(), found->end(), [](auto& a) { return a.ip.find(':') == std::string::npos; });
    address = four != found->end() ? *four : found->front();
  }
  return loop::listen_tcp(loop, address);
}

Result<std::unique_ptr<Server>> Server::listen(loop::Loop& loop, const std::string& addr, Handler handler,
                                               ServerOptions options) {
  std::unique_ptr<Server> server(new Server(std::make_shared<ServerState>(loop, std::move(handler), options)));
  TRY(server->also_listen(addr));
  return server;
}

Result<std::unique_ptr<Server>> Server::listen_unix(loop::Loop& loop, const std::string& path, Handler handler,
                                                    ServerOptions options) {
  std::unique_ptr<Server> server(new Server(std::make_shared<ServerState>(loop, std::move(handler), options)));
  TRY_ASSIGN(auto listener, loop::listen_unix(loop, path));
  server->state_->listeners.push_back(std::move(listener));
  return server;
}

Result<std::uint16_t> Server::also_listen(const std::string& addr) {
  TRY_ASSIGN(auto listener, listen_on(state_->loop, addr));
  std::uint16_t port = listener->port();
  state_->listeners.push_back(std::move(listener));
  if (state_->serving) accept_loop(state_, *state_->listeners.back());
  return port;
}

std::uint16_t Server::port() const { return state_->listeners.front()->port(); }
std::string Server::address() const { return state_->listeners.front()->address(); }
std::size_t Server::connections() const { return state_->connections.size(); }

void Server::serve() {
  if (std::exchange(state_->serving, true) || state_->stopping) return;
  for (auto& listener : state_->listeners) accept_loop(state_, *listener);
}

Task<void> Server::stop(std::int64_t grace_ms) {
  std::shared_ptr<ServerState> s = state_;
  s->close_listeners();
  s->cut(true);
  if (grace_ms > 0 && s->running > 0) (void)co_await s->ended.wait(grace_ms, {});
  s->stop.request_stop();
  s->cut(false);
  if (s->running > 0) (void)co_await s->ended.wait(0, {});
}

Server::~Server() {
  state_->close_listeners();
  state_->stop.request_stop();
  state_->cut(false);
}

}  // namespace caddis::http
