#include "http/server.h"

#include <algorithm>
#include <ctime>
#include <list>
#include <vector>

#include "base/log.h"
#include "http/wire.h"

namespace caddis::http {
namespace {
constexpr std::size_t kDrain = 256 * 1024;    // of an unread request body, to keep the connection
constexpr std::int64_t kLingerMs = 1000;      // for the client to read an answer before its connection is cut
constexpr std::int64_t kAcceptPauseMs = 100;  // after a failed accept (no descriptors)
}  // namespace

struct Connection {
  explicit Connection(std::unique_ptr<loop::Stream> stream) : wire(std::move(stream)) {}
  Wire wire;
  bool busy = false;  // a handler runs
};

struct ServerState {
  ServerState(loop::Loop& l, Handler h, ServerOptions o) : loop(l), handler(std::move(h)), options(o), ended(l) {}
  loop::Loop& loop;
  Handler handler;
  ServerOptions options;
  std::vector<std::unique_ptr<loop::Listener>> listeners;
  std::list<Connection*> connections;
  std::size_t running = 0;  // accept loops and connections
  bool serving = false, stopping = false;
  std::stop_source stop;
  loop::Event ended;  // set when running came down to 0 while stopping

  void leave() {
    if (--running == 0 && stopping) ended.set();
  }
  void close_listeners() {
    stopping = true;
    for (auto& l : listeners) l->close();
  }
  // close() resumes the coroutine that waits, which may end and leave the list.
  void cut(bool idle_only) {
    std::vector<Connection*> all(connections.begin(), connections.end());
    for (Connection* c : all) {
      bool there = std::find(connections.begin(), connections.end(), c) != connections.end();
      if (there && (!idle_only || !c->busy)) c->wire.stream().close();
    }
  }
};

struct Exchange {
  Exchange(ServerState& s, Connection& c, const RequestHead& head)
      : server(s),
        connection(c),
        body(head.body),
        decoder(head.body),
        expect_continue(head.expect_continue),
        keep_alive(head.keep_alive),
        minor(head.minor),
        head_only(head.method == "HEAD") {}
  ServerState& server;
  Connection& connection;
  BodyFraming body;
  BodyDecoder decoder;
  bool expect_continue;
  bool keep_alive;
  int minor;
  bool head_only;
  std::optional<ErrorCode> body_failure;
  // The answer.
  enum class Out { kNotBegun, kNoBody, kLength, kChunked, kUntilClose, kFinished, kFailed };
  Out out = Out::kNotBegun;
  std::uint64_t left = 0;  // kLength

  Task<Status> put(ByteView data) {
    Status ok = co_await connection.wire.stream().write(data, server.options.write_timeout_ms, {});
    if (!ok) out = Out::kFailed;
    co_return ok;
  }
  Result<std::string> make_head(int status, const Headers& headers, std::optional<std::uint64_t> whole);
};

// The head of an answer, and with it the state of the body. whole: its size where it is known here.
Result<std::string> Exchange::make_head(int status, const Headers& headers, std::optional<std::uint64_t> whole) {
  if (out != Out::kNotBegun) return make_error(ErrorCode::kInternal, "the answer was begun before");
  if (status < 200 || status > 599) return invalid("status {} cannot be answered", status);
  bool bodyless = status == 204 || status == 304;
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  for (const Header& h : headers) {
    if (!is_token(h.name) || !is_field_value(h.value)) return invalid("header \"{}\" cannot be sent", h.name);
    if (equal_ignoring_case(h.name, "Transfer-Encoding")) return invalid("Transfer-Encoding is the server's to set");
    if (equal_ignoring_case(h.name, "Connection")) {
      if (headers.has_token("Connection", "close")) keep_alive = false;
      continue;
    }
    if (equal_ignoring_case(h.name, "Content-Length")) {
      auto length = parse_content_length(h.value);
      if (!length || (whole && *whole != *length)) return invalid("Content-Length {} is wrong", h.value);
      whole = length;
      continue;
    }
    text += h.name + ": " + h.value + "\r\n";
  }
  if (!headers.has("Date")) text += "Date: " + http_date(std::time(nullptr)) + "\r\n";
  if (server.stopping) keep_alive = false;
  out = Out::kNoBody;
  if (!bodyless && whole) {
    text += fmt::format("Content-Length: {}\r\n", *whole);
    left = *whole;
    out = Out::kLength;
  } else if (!bodyless && minor >= 1) {
    text += "Transfer-Encoding: chunked\r\n";
    out = Out::kChunked;
  } else if (!bodyless) {
    keep_alive = false;
    out = Out::kUntilClose;
  }
  if (head_only) out = Out::kNoBody;
  if (expect_continue) keep_alive = false;  // the body was not wanted; the client may send it or not
  if (!keep_alive) text += "Connection: close\r\n";
  text += "\r\n";
  return text;
}

// ---- Request

Task<Result<std::size_t>> Request::read(ByteSpan out) {
  Exchange& x = *exchange;
  if (std::exchange(x.expect_continue, false) && !x.decoder.done()) {
    if (x.out != Exchange::Out::kNotBegun) co_return Error(ErrorCode::kInternal, "the body was refused by an answer");
    CO_TRY(co_await x.put(as_bytes("HTTP/1.1 100 Continue\r\n\r\n")));
  }
  Result<std::size_t> n =
      co_await x.connection.wire.read_body(x.decoder, out, Deadline(0), x.server.options.body_timeout_ms, {});
  if (!n) {
    x.keep_alive = false;
    x.body_failure = n.error().code();
    co_return std::move(n).error().context("request body");
  }
  co_return *n;
}

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

std::optional<std::uint64_t> Request::content_length() const {
  if (exchange->body.kind == BodyFraming::Kind::kChunked) return std::nullopt;
  return exchange->body.length;
}

std::stop_token Request::stop() const { return exchange->server.stop.get_token(); }

// ---- ResponseWriter

Task<Status> ResponseWriter::send(int status, Headers headers, ByteView body) {
  Exchange& x = exchange_;
  CO_TRY_ASSIGN(std::string head, x.make_head(status, headers, body.size()));
  bool with_body = x.out == Exchange::Out::kLength;
  x.out = Exchange::Out::kFinished;
  if (with_body && body.size() <= 64 * 1024) {  // one packet for small answers
    head += as_text(body);
    with_body = false;
  }
  CO_TRY(co_await x.put(as_bytes(head)));
  if (with_body) CO_TRY(co_await x.put(body));
  co_return {};
}

Task<Status> ResponseWriter::send(int status, Headers headers, std::string body) {
  if (!headers.has("Content-Type")) headers.add("Content-Type", "text/plain; charset=utf-8");
  ByteView view = as_bytes(body);
  co_return co_await send(status, std::move(headers), view);
}

Task<Status> ResponseWriter::begin(int status, Headers headers) {
  CO_TRY_ASSIGN(std::string head, exchange_.make_head(status, headers, std::nullopt));
  co_return co_await exchange_.put(as_bytes(head));
}

Task<Status> ResponseWriter::write(ByteView data) {
  Exchange& x = exchange_;
  switch (x.out) {
    case Exchange::Out::kNoBody:
      co_return {};
    case Exchange::Out::kUntilClose:
      co_return co_await x.put(data);
    case Exchange::Out::kLength:
      if (data.size() > x.left) {
        x.out = Exchange::Out::kFailed;
        co_return Error(ErrorCode::kInternal, "the answer is longer than its Content-Length");
      }
      x.left -= data.size();
      co_return co_await x.put(data);
    case Exchange::Out::kChunked:
      break;
    default:
      co_return Error(ErrorCode::kUnavailable, "the answer is not open");
  }
  if (data.empty()) co_return {};
  std::string prefix = chunk_prefix(data.size());
  if (data.size() <= 64 * 1024) {
    std::string chunk;
    chunk.reserve(prefix.size() + data.size() + 2);
    chunk.append(prefix).append(as_text(data)).append("\r\n");
    co_return co_await x.put(as_bytes(chunk));
  }
  CO_TRY(co_await x.put(as_bytes(prefix)));
  CO_TRY(co_await x.put(data));
  co_return co_await x.put(as_bytes("\r\n"));
}

Task<Status> ResponseWriter::finish() {
  Exchange& x = exchange_;
  Exchange::Out was = x.out;
  if (was == Exchange::Out::kNotBegun || was == Exchange::Out::kFinished || was == Exchange::Out::kFailed) {
    co_return Error(ErrorCode::kUnavailable, "the answer is not open");
  }
  if (was == Exchange::Out::kLength && x.left > 0) {
    x.out = Exchange::Out::kFailed;
    co_return Error(ErrorCode::kInternal, "the answer is shorter than its Content-Length");
  }
  x.out = Exchange::Out::kFinished;
  if (was == Exchange::Out::kChunked) co_return co_await x.put(as_bytes(kLastChunk));
  co_return {};
}

bool ResponseWriter::begun() const { return exchange_.out != Exchange::Out::kNotBegun; }
void ResponseWriter::close_afterwards() { exchange_.keep_alive = false; }

// ---- connections

namespace {

// Lets the client read what was sent: cutting a connection with unread input may destroy the answer on its way.
Task<void> linger(Connection& c) {
  if (!co_await c.wire.stream().shutdown_write()) co_return;
  Deadline deadline(kLingerMs);
  Bytes waste(16 * 1024);
  for (std::size_t total = 0; total < kDrain && !deadline.passed();) {
    Result<std::size_t> n = co_await c.wire.stream().read(waste, deadline.remaining_ms(), {});
    if (!n || *n == 0) co_return;
    total += *n;
  }
}

Task<void> refuse(ServerState& s, Connection& c, int status, std::string text) {
  RequestHead nothing;
  Exchange x(s, c, nothing);
  ResponseWriter w(x);
  if (co_await w.send(status, {}, text + "\n")) co_await linger(c);
}

// The next request's head, or nothing when the connection is to be closed (then all is said).
Task<std::optional<RequestHead>> read_head(ServerState& s, Connection& c, bool first) {
  HeadScanner scanner;
  Deadline deadline(s.options.header_timeout_ms);
  bool started = first;  // a new connection has to send at once
  for (;;) {
    std::string_view text = c.wire.buffered();
    if (!text.empty() && !std::exchange(started, true)) deadline = Deadline(s.options.header_timeout_ms);
    auto length = scanner.scan(text);
    if (!length) {
      co_await refuse(s, c, length.error().status, length.error().text);
      co_return std::nullopt;
    }
    if (*length > 0) {
      auto head = parse_request_head(text.substr(0, *length));
      if (!head) {
        co_await refuse(s, c, head.error().status, head.error().text);
        co_return std::nullopt;
      }
      c.wire.consume(*length);
      co_return std::move(*head);
    }
    bool late = started && deadline.passed();
    Result<std::size_t> n = std::size_t{0};
    if (!late) n = co_await c.wire.fill(started ? deadline.remaining_ms() : s.options.idle_timeout_ms, {});
    late = late || (!n && n.error().code() == ErrorCode::kTimeout && started);
    if (late && !c.wire.buffered().empty()) {
      co_await refuse(s, c, 408, fmt::format("no complete head within {} ms", s.options.header_timeout_ms));
    }
    if (late || !n || *n == 0) co_return std::nullopt;
  }
}

// True when the connection can carry the next request.
Task<bool> handle(ServerState& s, Connection& c, RequestHead head) {
  Exchange x(s, c, head);
  Request request{.method = std::move(head.method),
                  .target = std::move(head.target),
                  .headers = std::move(head.headers),
                  .minor = head.minor,
                  .peer = c.wire.stream().peer(),
                  .exchange = &x};
  ResponseWriter writer(x);
  c.busy = true;
  co_await s.handler(request, writer);
  c.busy = false;
  if (x.out == Exchange::Out::kNotBegun && x.body_failure) {
    if (*x.body_failure == ErrorCode::kCorrupt) (void)co_await writer.send(400, {}, std::string("malformed body\n"));
    if (*x.body_failure == ErrorCode::kTimeout) (void)co_await writer.send(408, {}, std::string("no body in time\n"));
  } else if (x.out == Exchange::Out::kNotBegun) {
    log_error("http: a handler gave no answer", {{"method", request.method}, {"path", request.target.path}});
    (void)co_await writer.send(500, {}, std::string("internal error\n"));
  }
  if (x.out == Exchange::Out::kNoBody) x.out = Exchange::Out::kFinished;
  if (x.out != Exchange::Out::kFinished) co_return false;  // cut: the client must not take it for whole
  Deadline deadline(kLingerMs);
  Bytes waste(x.decoder.done() ? 0 : 16 * 1024);
  for (std::size_t total = 0; x.keep_alive && !x.decoder.done();) {
    Result<std::size_t> n = co_await c.wire.read_body(x.decoder, waste, deadline, 0, {});
    if (!n || (total += *n) > kDrain || deadline.passed()) x.keep_alive = false;
  }
  if (!x.keep_alive) co_await linger(c);
  co_return x.keep_alive && !s.stopping;
}

loop::Detached serve_connection(std::shared_ptr<ServerState> s, std::unique_ptr<loop::Stream> stream) {
  Connection c(std::move(stream));
  auto place = s->connections.insert(s->connections.end(), &c);
  ++s->running;
  if (s->connections.size() > s->options.max_connections) {
    co_await refuse(*s, c, 503, "too many connections");
  } else {
    for (bool first = true, more = true; more; first = false) {
      std::optional<RequestHead> head = co_await read_head(*s, c, first);
      more = head.has_value() && co_await handle(*s, c, std::move(*head));
    }
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

// The address to bind. Of a name's addresses the first IPv4 one, as Go does, else the first.
Result<std::unique_ptr<loop::Listener>> bind(loop::Loop& loop, const std::string& addr) {
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

}  // namespace

// ---- Server

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
  TRY_ASSIGN(auto listener, bind(state_->loop, addr));
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
