// HTTP/1.1 of the server: one connection, one request after the other.
#include <ctime>
#include <utility>

#include "http/exchange.h"

namespace caddis::http {
namespace {

constexpr std::size_t kDrain = 256 * 1024;  // of an unread request body, to keep the connection
constexpr std::int64_t kLingerMs = 1000;    // for the client to read an answer before its connection is cut

class Http1Exchange final : public Exchange {
 public:
  Http1Exchange(ServerState& s, Connection& c, const RequestHead& head)
      : Exchange(s, head.method == "HEAD"),
        connection_(c),
        body_(head.body),
        decoder_(head.body),
        expect_continue_(head.expect_continue),
        keep_alive_(head.keep_alive),
        minor_(head.minor) {}
  Task<Result<std::size_t>> read(ByteSpan out) override;
  std::optional<std::uint64_t> content_length() const override;
  Task<Status> send(int status, Headers headers, ByteView body) override;
  Task<Status> begin(int status, Headers headers) override;
  Task<Status> write(ByteView data) override;
  Task<Status> finish() override;
  void close_afterwards() override { keep_alive_ = false; }
  // Behind the answer: reads what is left of the request's body. True when the next request may follow.
  Task<bool> skip_body();

 private:
  Task<Status> put(ByteView data) {
    Status ok = co_await connection_.wire.stream().write(data, server.options.write_timeout_ms, {});
    if (!ok) out = Out::kFailed;
    co_return ok;
  }
  Result<std::string> make_head(int status, const Headers& headers, std::optional<std::uint64_t> whole);

  Connection& connection_;
  BodyFraming body_;
  BodyDecoder decoder_;
  bool expect_continue_;
  bool keep_alive_;
  int minor_;
};

// The head of an answer, and with it the state of the body. whole: its size where it is known here.
Result<std::string> Http1Exchange::make_head(int status, const Headers& headers, std::optional<std::uint64_t> whole) {
  TRY_ASSIGN(whole, check_answer(status, headers, whole));
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  for (const Header& h : headers) {
    if (equal_ignoring_case(h.name, "Connection")) {
      if (headers.has_token("Connection", "close")) keep_alive_ = false;
    } else if (!equal_ignoring_case(h.name, "Content-Length")) {
      text += h.name + ": " + h.value + "\r\n";
    }
  }
  if (!headers.has("Date")) text += "Date: " + http_date(std::time(nullptr)) + "\r\n";
  if (server.stopping) keep_alive_ = false;
  bool bodyless = status == 204 || status == 304;
  out = Out::kNoBody;
  if (!bodyless && whole) {
    text += fmt::format("Content-Length: {}\r\n", *whole);
    left = *whole;
    out = Out::kLength;
  } else if (!bodyless && minor_ >= 1) {
    text += "Transfer-Encoding: chunked\r\n";
    out = Out::kChunked;
  } else if (!bodyless) {
    keep_alive_ = false;
    out = Out::kUntilClose;
  }
  if (head_only) out = Out::kNoBody;
  if (expect_continue_) keep_alive_ = false;  // the body was not wanted; the client may send it or not
  if (!keep_alive_) text += "Connection: close\r\n";
  text += "\r\n";
  return text;
}

Task<Result<std::size_t>> Http1Exchange::read(ByteSpan out_bytes) {
  if (std::exchange(expect_continue_, false) && !decoder_.done()) {
    if (out != Out::kNotBegun) co_return Error(ErrorCode::kInternal, "the body was refused by an answer");
    CO_TRY(co_await put(as_bytes("HTTP/1.1 100 Continue\r\n\r\n")));
  }
  Result<std::size_t> n = co_await connection_.wire.read_body(decoder_, out_bytes, Deadline(0),
                                                              server.options.body_timeout_ms, reading.get_token());
  if (!n) {
    keep_alive_ = false;
    body_failure = n.error().code();
    co_return std::move(n).error().context("request body");
  }
  co_return *n;
}

std::optional<std::uint64_t> Http1Exchange::content_length() const {
  if (body_.kind == BodyFraming::Kind::kChunked) return std::nullopt;
  return body_.length;
}

Task<Status> Http1Exchange::send(int status, Headers headers, ByteView body) {
  CO_TRY_ASSIGN(std::string head, make_head(status, headers, body.size()));
  bool with_body = out == Out::kLength;
  out = Out::kFinished;
  if (with_body && body.size() <= 64 * 1024) {  // one packet for small answers
    head += as_text(body);
    with_body = false;
  }
  CO_TRY(co_await put(as_bytes(head)));
  if (with_body) CO_TRY(co_await put(body));
  co_return {};
}

Task<Status> Http1Exchange::begin(int status, Headers headers) {
  CO_TRY_ASSIGN(std::string head, make_head(status, headers, std::nullopt));
  co_return co_await put(as_bytes(head));
}

Task<Status> Http1Exchange::write(ByteView data) {
  CO_TRY(count_out(data.size()));
  if (out == Out::kNoBody || data.empty()) co_return {};
  if (out != Out::kChunked) co_return co_await put(data);
  std::string prefix = chunk_prefix(data.size());
  if (data.size() <= 64 * 1024) {
    std::string chunk;
    chunk.reserve(prefix.size() + data.size() + 2);
    chunk.append(prefix).append(as_text(data)).append("\r\n");
    co_return co_await put(as_bytes(chunk));
  }
  CO_TRY(co_await put(as_bytes(prefix)));
  CO_TRY(co_await put(data));
  co_return co_await put(as_bytes("\r\n"));
}

Task<Status> Http1Exchange::finish() {
  CO_TRY(check_end());
  Out was = std::exchange(out, Out::kFinished);
  if (was == Out::kChunked) co_return co_await put(as_bytes(kLastChunk));
  co_return {};
}

Task<bool> Http1Exchange::skip_body() {
  Deadline deadline(kLingerMs);
  Bytes waste(decoder_.done() ? 0 : 16 * 1024);
  for (std::size_t total = 0; keep_alive_ && !decoder_.done();) {
    Result<std::size_t> n = co_await connection_.wire.read_body(decoder_, waste, deadline, 0, {});
    if (!n || (total += *n) > kDrain || deadline.passed()) keep_alive_ = false;
  }
  co_return keep_alive_;
}

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
  Http1Exchange x(s, c, head);
  Request request{.method = std::move(head.method),
                  .target = std::move(head.target),
                  .headers = std::move(head.headers),
                  .major = 1,
                  .minor = head.minor,
                  .peer = c.wire.stream().peer(),
                  .exchange = &x};
  ResponseWriter writer(x);
  c.busy = true;
  co_await run_handler(x, request, writer);
  c.busy = false;
  if (x.out != Exchange::Out::kFinished) co_return false;  // cut: the client must not take it for whole
  bool more = co_await x.skip_body();
  if (!more) co_await linger(c);
  co_return more && !s.stopping;
}

}  // namespace

Task<void> refuse(ServerState& s, Connection& c, int status, std::string text) {
  RequestHead nothing;
  Http1Exchange x(s, c, nothing);
  ResponseWriter w(x);
  if (co_await w.send(status, {}, text + "\n")) co_await linger(c);
}

Task<void> serve_http1(ServerState& s, Connection& c) {
  for (bool first = true, more = true; more; first = false) {
    std::optional<RequestHead> head = co_await read_head(s, c, first);
    more = head.has_value() && co_await handle(s, c, std::move(*head));
  }
}

}  // namespace caddis::http
