#include "http/client.h"

#include <algorithm>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "http/client_http2.h"
#include "http/tls.h"
#include "http/wire.h"

namespace caddis::http {
namespace {
constexpr std::size_t kSendPiece = 128 * 1024;
constexpr int kMaxInterim = 16;  // 1xx answers before the real one

struct Idle {
  std::unique_ptr<Wire> wire;
  TimeMs since;
};
}  // namespace

struct ClientState {
  ClientState(loop::Loop& l, ClientOptions o)
      : loop(l), options(std::move(o)), http2(std::make_shared<Http2Pool>(l, options.max_idle_ms)) {}
  loop::Loop& loop;
  ClientOptions options;
  std::shared_ptr<TlsContext> tls;
  SystemClock clock;
  std::shared_ptr<Http2Pool> http2;
  std::map<std::string, std::list<Idle>> idle;  // by scheme, host and port or socket; the freshest in front
  bool closed = false;

  void drop_old() {
    for (auto it = idle.begin(); it != idle.end();) {
      it->second.remove_if([&](const Idle& i) { return clock.now() - i.since > options.max_idle_ms; });
      it = it->second.empty() ? idle.erase(it) : std::next(it);
    }
  }
  std::unique_ptr<Wire> take(const std::string& key) {
    drop_old();
    auto it = idle.find(key);
    if (it == idle.end()) return nullptr;
    std::unique_ptr<Wire> wire = std::move(it->second.front().wire);
    it->second.pop_front();
    return wire;
  }
  void keep(const std::string& key, std::unique_ptr<Wire> wire) {
    drop_old();
    if (closed || options.max_idle_per_host == 0) return;
    std::list<Idle>& list = idle[key];
    list.push_front({std::move(wire), clock.now()});
    if (list.size() > options.max_idle_per_host) list.pop_back();
  }
};

namespace {

// One request on one connection. Shared by the coroutine that sends and the one that reads, because a server may answer
// before it has read everything.
struct Call {
  Call(std::shared_ptr<ClientState> s, std::shared_ptr<const ClientRequest> r, Url u, std::string k)
      : state(std::move(s)),
        request_ptr(std::move(r)),
        request(*request_ptr),
        url(std::move(u)),
        key(std::move(k)),
        sent(state->loop) {}
  std::shared_ptr<ClientState> state;
  std::shared_ptr<const ClientRequest> request_ptr;  // shared by the attempts
  const ClientRequest& request;
  Url url;
  std::string key;
  std::unique_ptr<Wire> wire;
  bool abandon = false;  // the answer is complete or nobody wants it: send no more
  loop::Event sent;
  std::optional<Status> send_result;

  bool repeatable() const { return request.repeatable.value_or(request.method != "POST" && request.method != "PATCH"); }
};

std::string describe(const Call& x) { return describe_request(x.request, x.url); }

Result<std::string> request_head(const Call& x) {
  const ClientRequest& r = x.request;
  std::string text = fmt::format("{} {} HTTP/1.1\r\n", r.method, x.url.target);
  if (!r.headers.has("Host")) text += "Host: " + x.url.authority + "\r\n";
  if (!r.headers.has("User-Agent")) text += "User-Agent: " + x.state->options.user_agent + "\r\n";
  for (const Header& h : r.headers) text += h.name + ": " + h.value + "\r\n";
  bool usual = r.method == "POST" || r.method == "PUT" || r.method == "PATCH";
  if (r.source && !r.source_size)
    text += "Transfer-Encoding: chunked\r\n";
  else if (r.source)
    text += fmt::format("Content-Length: {}\r\n", *r.source_size);
  else if (usual || !r.body.empty())
    text += fmt::format("Content-Length: {}\r\n", r.body.size());
  return text + "\r\n";
}

Task<Status> send_source(Call& x, Deadline deadline, std::stop_token stop) {
  Bytes piece(kSendPiece);
  bool chunked = !x.request.source_size;
  for (std::uint64_t offset = 0; !x.abandon;) {
    std::size_t room = piece.size();
    if (!chunked) room = static_cast<std::size_t>(std::min<std::uint64_t>(room, *x.request.source_size - offset));
    if (room == 0) co_return {};
    Result<std::size_t> n = co_await x.request.source(offset, ByteSpan(piece).first(room));
    if (!n) co_return std::move(n).error().context("request body");
    if (*n == 0 && !chunked) {
      co_return Error(ErrorCode::kInvalid,
                      fmt::format("the request body ended after {} of {} bytes", offset, *x.request.source_size));
    }
    offset += *n;
    std::string text = chunked ? (*n > 0 ? chunk_prefix(*n) : std::string(kLastChunk)) : std::string();
    if (!text.empty()) {
      CO_TRY(co_await x.wire->stream().write(as_bytes(text), deadline.at_most_ms(x.request.idle_timeout_ms), stop));
    }
    if (*n == 0) co_return {};
    CO_TRY(co_await x.wire->stream().write(ByteView(piece).first(*n), deadline.at_most_ms(x.request.idle_timeout_ms),
                                           stop));
    if (chunked) {
      CO_TRY(co_await x.wire->stream().write(as_bytes("\r\n"), deadline.at_most_ms(x.request.idle_timeout_ms), stop));
    }
  }
  co_return Error(ErrorCode::kCancelled, "the server answered before it had the whole request body");
}

Task<Status> send_request(Call& x, std::string head, Deadline deadline, std::stop_token stop) {
  const Bytes& body = x.request.body;
  bool joined = !x.request.source && body.size() <= 64 * 1024;
  if (joined) head += as_text(body);
  CO_TRY(co_await x.wire->stream().write(as_bytes(head), deadline.at_most_ms(x.request.idle_timeout_ms), stop));
  if (x.request.source) co_return co_await send_source(x, deadline, stop);
  if (joined) co_return {};
  for (ByteView rest = body; !rest.empty(); rest = rest.subspan(std::min(rest.size(), kSendPiece))) {
    if (x.abandon) co_return Error(ErrorCode::kCancelled, "the server answered before it had the whole request body");
    ByteView piece = rest.first(std::min(rest.size(), kSendPiece));
    CO_TRY(co_await x.wire->stream().write(piece, deadline.at_most_ms(x.request.idle_timeout_ms), stop));
  }
  co_return {};
}

loop::Detached send_beside(std::shared_ptr<Call> x, std::string head, Deadline deadline, std::stop_token stop) {
  Status ok = co_await send_request(*x, std::move(head), deadline, stop);
  bool own_failure = !ok && !x->abandon;
  x->send_result = std::move(ok);
  x->sent.set();
  if (own_failure) x->wire->stream().close();  // wakes the one that waits for the answer
}

Task<Result<ResponseHead>> read_head(Call& x, Deadline deadline, bool& any, std::stop_token stop) {
  for (int interim = 0; interim <= kMaxInterim; ++interim) {
    HeadScanner scanner;
    for (;;) {
      std::string_view text = x.wire->buffered();
      any = any || !text.empty();
      auto length = scanner.scan(text);
      if (!length) co_return Error(ErrorCode::kCorrupt, "not an HTTP/1.1 answer: " + length.error().text);
      if (*length > 0) {
        auto head = parse_response_head(text.substr(0, *length), x.request.method);
        if (!head) co_return Error(ErrorCode::kCorrupt, "not an HTTP/1.1 answer: " + head.error().text);
        x.wire->consume(*length);
        if (head->status == 101) co_return Error(ErrorCode::kCorrupt, "the server switched protocols unasked");
        if (head->status < 200) break;
        co_return std::move(*head);
      }
      if (deadline.passed()) co_return Error(ErrorCode::kTimeout, "no answer in time");
      Result<std::size_t> n = co_await x.wire->fill(deadline.at_most_ms(x.request.idle_timeout_ms), stop);
      // A write that fails closes the stream, which wakes this; its error is the cause.
      bool woken = !n && n.error().code() == ErrorCode::kCancelled && !stop.stop_requested();
      if (woken && !x.send_result) (void)co_await x.sent.wait(0, {});
      if (woken && !*x.send_result) co_return x.send_result->error();
      if (!n) co_return std::move(n).error();
      if (*n == 0) co_return Error(ErrorCode::kUnavailable, "the server closed the connection before it answered");
    }
  }
  co_return Error(ErrorCode::kCorrupt, "too many interim answers");
}

class Reader final : public BodyReader {
 public:
  // deadline: for the whole body; Deadline(0) for none.
  Reader(std::shared_ptr<Call> x, ResponseHead head, Deadline deadline)
      : x_(std::move(x)), head_(std::move(head)), decoder_(head_.body), deadline_(deadline) {
    if (decoder_.done()) finish();
  }
  ~Reader() override {
    x_->abandon = true;
    if (!finished_) x_->wire->stream().close();
  }
  int status() const override { return head_.status; }
  const Headers& headers() const override { return head_.headers; }
  std::optional<std::uint64_t> content_length() const override {
    return parse_content_length(head_.headers.get("Content-Length"));
  }
  Task<Result<std::size_t>> read(ByteSpan out, std::stop_token stop) override {
    if (finished_) co_return std::size_t{0};
    std::shared_ptr<Call> x = x_;
    if (deadline_.passed()) co_return Error(ErrorCode::kTimeout, describe(*x) + ": the answer took too long");
    Result<std::size_t> n =
        co_await x->wire->read_body(decoder_, out, deadline_, x->request.idle_timeout_ms, std::move(stop));
    if (!n) co_return std::move(n).error().context(describe(*x));
    if (decoder_.done()) finish();
    co_return n;
  }

 private:
  // The whole answer is here: the connection can serve again, if the request went out and nothing came behind.
  void finish() {
    if (std::exchange(finished_, true)) return;
    bool clean = head_.keep_alive && x_->send_result && *x_->send_result && x_->wire->buffered().empty() &&
                 !x_->request.headers.has_token("Connection", "close");
    if (clean)
      x_->state->keep(x_->key, std::move(x_->wire));
    else
      x_->wire->stream().close();
    x_->abandon = true;
  }
  std::shared_ptr<Call> x_;
  ResponseHead head_;
  BodyDecoder decoder_;
  Deadline deadline_;
  bool finished_ = false;
};

Status check_request(const ClientRequest& r) {
  if (!is_token(r.method) || r.method == "CONNECT") return invalid("method \"{}\" cannot be sent", r.method);
  for (const Header& h : r.headers) {
    if (!is_token(h.name) || !is_field_value(h.value)) return invalid("header \"{}\" cannot be sent", h.name);
    if (equal_ignoring_case(h.name, "Content-Length") || equal_ignoring_case(h.name, "Transfer-Encoding")) {
      return invalid("header {} is the client's to set", h.name);
    }
  }
  return {};
}

// Made at the first https request.
Task<Result<std::shared_ptr<TlsContext>>> tls_context(std::shared_ptr<ClientState> state) {
  if (!state->tls) {
    auto make = [options = state->options.tls] { return make_tls_context(options); };
    CO_TRY_ASSIGN(state->tls, co_await loop::offload(state->loop, make));
  }
  co_return state->tls;
}

Task<Result<std::unique_ptr<Wire>>> connect(Call& x, Deadline deadline, std::stop_token stop) {
  loop::Loop& loop = x.state->loop;
  Deadline limit(deadline.at_most_ms(x.request.connect_timeout_ms));
  auto stream = co_await dial(loop, x.request, x.url, limit.remaining_ms(), stop);
  if (!stream) co_return std::move(stream).error();
  if (x.url.tls) {
    CO_TRY_ASSIGN(std::shared_ptr<TlsContext> tls, co_await tls_context(x.state));
    if (limit.passed()) co_return Error(ErrorCode::kTimeout, "no time left for the TLS handshake");
    stream = co_await tls_connect(std::move(*stream), std::move(tls), x.url.host, limit.remaining_ms(), stop);
    if (!stream) co_return std::move(stream).error();
  }
  co_return std::make_unique<Wire>(std::move(*stream));
}

struct Attempt {
  Result<std::unique_ptr<BodyReader>> result;
  bool stale = false;  // a kept connection was dead: nothing of an answer came
};

Task<Attempt> attempt(std::shared_ptr<Call> x, std::string head, Deadline deadline, bool whole, std::stop_token stop) {
  if (x->repeatable()) x->wire = x->state->take(x->key);
  bool kept = x->wire != nullptr;
  if (!kept) {
    Result<std::unique_ptr<Wire>> wire = co_await connect(*x, deadline, stop);
    if (!wire) co_return Attempt{std::unexpected(std::move(wire).error())};
    x->wire = std::move(*wire);
  }
  send_beside(x, std::move(head), deadline, stop);
  bool any = false;
  Result<ResponseHead> answer = co_await read_head(*x, deadline, any, stop);
  if (!answer) {
    x->abandon = true;
    x->wire->stream().close();
    if (!x->send_result) (void)co_await x->sent.wait(0, {});  // its buffers are in use until then
    bool stale = kept && !any && answer.error().code() == ErrorCode::kUnavailable;
    co_return Attempt{std::unexpected(std::move(answer).error()), stale};
  }
  std::unique_ptr<BodyReader> reader = std::make_unique<Reader>(x, std::move(*answer), whole ? deadline : Deadline(0));
  co_return Attempt{std::move(reader)};
}

Task<Result<std::unique_ptr<BodyReader>>> open_until(std::shared_ptr<ClientState> state, ClientRequest request,
                                                     Deadline deadline, bool whole, std::stop_token stop) {
  CO_TRY_ASSIGN(Url url, parse_url(request.url));
  std::string key = request.unix_socket.empty() ? fmt::format("{}|{}|{}", url.tls, url.host, url.port)
                                                : fmt::format("{}|unix|{}|{}", url.tls, url.host, request.unix_socket);
  auto shared = std::make_shared<const ClientRequest>(std::move(request));
  CO_TRY(check_request(*shared));
  if (shared->http2) {
    co_return co_await state->http2->open({shared, url, state->options.user_agent}, deadline, whole, stop);
  }
  for (;;) {
    auto x = std::make_shared<Call>(state, shared, url, key);
    CO_TRY_ASSIGN(std::string head, request_head(*x));
    Attempt a = co_await attempt(x, std::move(head), deadline, whole, stop);
    if (a.stale) continue;  // ends when no kept connection is left
    if (!a.result) co_return std::move(a.result).error().context(describe(*x));
    co_return std::move(a.result);
  }
}

Task<Result<Response>> fetch_with(std::shared_ptr<ClientState> state, ClientRequest request, std::stop_token stop) {
  Deadline deadline(request.timeout_ms);
  std::size_t limit = request.body_limit;
  bool bodyless = request.method == "HEAD";  // its Content-Length is that of a GET
  CO_TRY_ASSIGN(std::unique_ptr<BodyReader> reader,
                co_await open_until(state, std::move(request), deadline, true, stop));
  Response out{.status = reader->status(), .headers = reader->headers()};
  auto too_large = [&] { return Error(ErrorCode::kNoSpace, fmt::format("the answer is larger than {} bytes", limit)); };
  if (!bodyless && reader->content_length().value_or(0) > limit) co_return too_large();
  Bytes piece(16 * 1024);
  for (;;) {
    CO_TRY_ASSIGN(std::size_t n, co_await reader->read(piece, stop));
    if (n == 0) co_return out;
    if (n > limit - out.body.size()) co_return too_large();
    append(out.body, ByteView(piece).first(n));
  }
}

}  // namespace

Task<Result<std::unique_ptr<loop::Stream>>> dial(loop::Loop& loop, const ClientRequest& request, const Url& url,
                                                 std::int64_t timeout_ms, std::stop_token stop) {
  if (request.unix_socket.empty()) return loop::connect_host(loop, url.host, url.port, timeout_ms, std::move(stop));
  return loop::connect_unix(loop, request.unix_socket, timeout_ms, std::move(stop));
}

std::string describe_request(const ClientRequest& request, const Url& url) {
  std::string_view path = url.target;
  path = path.substr(0, path.find('?'));  // a query may hold secrets
  return request.unix_socket.empty()
             ? fmt::format("{} {}://{}{}", request.method, url.tls ? "https" : "http", url.authority, path)
             : fmt::format("{} {} at {}", request.method, path, request.unix_socket);
}

Client::Client(loop::Loop& loop, ClientOptions options)
    : state_(std::make_shared<ClientState>(loop, std::move(options))) {}

Client::~Client() {
  state_->closed = true;
  state_->http2->close();
  state_->idle.clear();
}

Task<Result<Response>> Client::fetch(ClientRequest request, std::stop_token stop) {
  return fetch_with(state_, std::move(request), std::move(stop));
}

Task<Result<std::unique_ptr<BodyReader>>> Client::open(ClientRequest request, std::stop_token stop) {
  Deadline deadline(request.timeout_ms);
  return open_until(state_, std::move(request), deadline, false, std::move(stop));
}

std::size_t Client::idle_connections() const {
  std::size_t n = 0;
  for (const auto& [key, list] : state_->idle) n += list.size();
  return n;
}

Task<Result<Response>> fetch(loop::Loop& loop, ClientRequest request, std::stop_token stop, TlsOptions tls) {
  auto state = std::make_shared<ClientState>(loop, ClientOptions{.tls = std::move(tls), .max_idle_per_host = 0});
  Result<Response> answer = co_await fetch_with(state, std::move(request), std::move(stop));
  state->http2->close();
  co_return answer;
}

Error status_error(std::string_view intention, int status, std::string_view body) {
  ErrorCode code = ErrorCode::kInvalid;
  if (status == 404)
    code = ErrorCode::kNotFound;
  else if (status == 401 || status == 403)
    code = ErrorCode::kDenied;
  else if (status == 409 || status == 412)
    code = ErrorCode::kConflict;
  else if (status == 408 || status == 504)
    code = ErrorCode::kTimeout;
  else if (status == 429 || status >= 500)
    code = ErrorCode::kUnavailable;
  std::string line(body.substr(0, std::min<std::size_t>(body.find_first_of("\r\n"), 200)));
  std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  std::string text = fmt::format("{}: HTTP {} {}", intention, status, reason_phrase(status));
  if (!line.empty()) text += " (" + line + ")";
  return Error(code, std::move(text));
}

}  // namespace caddis::http
