// HTTP/2 of the server: one connection, a handler for every stream.
#include <nghttp2/nghttp2.h>

#include <ctime>
#include <utility>
#include <vector>

#include "http/exchange.h"
#include "http/h2_connection.h"

namespace caddis::http {
namespace {

class Http2Exchange final : public Exchange {
 public:
  Http2Exchange(ServerState& s, H2Connection& c, H2StreamPtr stream)
      : Exchange(s, stream->method == "HEAD"),
        connection_(c),
        channel_(s.loop, std::move(stream)),
        length_(parse_content_length(channel_.stream->headers.get("Content-Length"))),
        expect_continue_(equal_ignoring_case(channel_.stream->headers.get("Expect"), "100-continue")) {}
  Task<Result<std::size_t>> read(ByteSpan bytes) override;
  std::optional<std::uint64_t> content_length() const override;
  Task<Status> send(int status, Headers headers, ByteView body) override;
  Task<Status> begin(int status, Headers headers) override;
  Task<Status> write(ByteView data) override;
  Task<Status> finish() override;
  void close_afterwards() override {}
  // Behind the answer: the stream is reset where it is not at its end.
  void end();

 private:
  Status begin_answer(int status, Headers headers, std::optional<std::uint64_t> whole);
  Task<Status> put(ByteView data, bool last);

  H2Connection& connection_;
  H2Channel channel_;
  std::optional<std::uint64_t> length_;
  bool expect_continue_;
};

Status Http2Exchange::begin_answer(int status, Headers headers, std::optional<std::uint64_t> whole) {
  TRY_ASSIGN(whole, check_answer(status, headers, whole));
  if (channel_.stream->closed) {
    out = Out::kFailed;
    return make_error(ErrorCode::kUnavailable, "the client does not want the answer any more");
  }
  bool bodyless = status == 204 || status == 304;
  if (!headers.has("Date")) headers.add("Date", http_date(std::time(nullptr)));
  headers.remove("Content-Length");
  if (!bodyless && whole) headers.add("Content-Length", std::to_string(*whole));
  left = whole.value_or(0);
  out = bodyless || head_only ? Out::kNoBody : whole ? Out::kLength : Out::kChunked;
  connection_.session().answer(*channel_.stream, status, headers, out == Out::kNoBody);
  connection_.kick();
  return {};
}

Task<Status> Http2Exchange::put(ByteView data, bool last) {
  Status ok = co_await connection_.write(channel_, data, last, server.options.write_timeout_ms, {});
  if (!ok) out = Out::kFailed;
  co_return ok;
}

Task<Result<std::size_t>> Http2Exchange::read(ByteSpan bytes) {
  if (std::exchange(expect_continue_, false) && out == Out::kNotBegun && !channel_.stream->in_ended) {
    connection_.session().interim(*channel_.stream, 100);
    connection_.kick();
  }
  Result<std::size_t> n =
      co_await connection_.read(channel_, bytes, server.options.body_timeout_ms, reading.get_token());
  if (!n) {
    body_failure = n.error().code();
    co_return std::move(n).error().context("request body");
  }
  co_return *n;
}

std::optional<std::uint64_t> Http2Exchange::content_length() const {
  bool bodyless = channel_.stream->in_ended && channel_.stream->in.size() == 0;
  return !length_ && bodyless ? 0 : length_;
}

Task<Status> Http2Exchange::send(int status, Headers headers, ByteView body) {
  CO_TRY(begin_answer(status, std::move(headers), body.size()));
  bool with_body = out == Out::kLength;
  out = Out::kFinished;
  if (with_body) co_return co_await put(body, true);
  co_return {};
}

Task<Status> Http2Exchange::begin(int status, Headers headers) {
  co_return begin_answer(status, std::move(headers), std::nullopt);
}

Task<Status> Http2Exchange::write(ByteView data) {
  CO_TRY(count_out(data.size()));
  if (out == Out::kNoBody || data.empty()) co_return {};
  co_return co_await put(data, false);
}

Task<Status> Http2Exchange::finish() {
  CO_TRY(check_end());
  Out was = std::exchange(out, Out::kFinished);
  if (was == Out::kNoBody) co_return {};
  co_return co_await put({}, true);
}

void Http2Exchange::end() {
  // NO_ERROR: the answer is whole and the rest of the request is not wanted (RFC 9113 8.1).
  bool whole = out == Out::kFinished;
  if (!channel_.stream->closed && (!whole || !channel_.stream->in_ended)) {
    connection_.reset(*channel_.stream, whole ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
  } else {
    connection_.session().forget(*channel_.stream);
  }
}

class Http2Server {
 public:
  Http2Server(ServerState& s, Connection& c)
      : state_(s),
        connection_(c),
        http2_(s.loop, c.wire, H2Session::Side::kServer, H2Limits{.max_streams = s.options.max_http2_streams},
               H2Timeouts{s.options.idle_timeout_ms, s.options.header_timeout_ms, s.options.write_timeout_ms},
               [this](H2StreamPtr stream) { arrived_.push_back(std::move(stream)); }) {}

  Task<void> run() {
    co_await http2_.run([this] { return after_feed(); });
    co_await handlers_.join();
    count_buffered();
  }

 private:
  bool after_feed() {
    std::vector<H2StreamPtr> arrived = std::exchange(arrived_, {});
    for (H2StreamPtr& stream : arrived) {
      // The client may reset streams at will; their handlers still run.
      bool refused = state_.stopping || handlers_.running() >= 2 * state_.options.max_http2_streams;
      if (refused)
        http2_.reset(*stream, NGHTTP2_REFUSED_STREAM);
      else
        handlers_.spawn(handle(std::move(stream)));
    }
    count_buffered();
    bool too_much = state_.http2_buffered > state_.options.max_http2_buffered;
    if (too_much) http2_.session().go_away(NGHTTP2_ENHANCE_YOUR_CALM);
    return !too_much;
  }

  void count_buffered() {
    state_.http2_buffered += http2_.session().buffered();
    state_.http2_buffered -= std::exchange(counted_, http2_.session().buffered());
  }

  Task<void> handle(H2StreamPtr stream) {
    connection_.busy = true;
    Http2Exchange x(state_, http2_, stream);
    ResponseWriter writer(x);
    Result<Target> target = parse_target(stream->path);
    if (stream->head_too_large) {
      (void)co_await writer.send(431, {}, fmt::format("the head is larger than {} bytes\n", kMaxHead));
    } else if (stream->method == "CONNECT" || !target) {
      std::string text = target ? "CONNECT is not served" : target.error().message();
      (void)co_await writer.send(target ? 501 : 400, {}, text + "\n");
    } else {
      Request request{.method = stream->method,
                      .target = std::move(*target),
                      .headers = std::move(stream->headers),
                      .major = 2,
                      .minor = 0,
                      .peer = connection_.wire.stream().peer(),
                      .exchange = &x};
      if (!stream->authority.empty() && !request.headers.has("Host")) request.headers.add("Host", stream->authority);
      co_await run_handler(x, request, writer);
    }
    x.end();
    count_buffered();
    connection_.busy = handlers_.running() > 1;  // besides this one
    if (state_.stopping) http2_.end_soon();
  }

  ServerState& state_;
  Connection& connection_;
  H2Connection http2_;
  loop::TaskGroup handlers_;
  std::vector<H2StreamPtr> arrived_;
  std::size_t counted_ = 0;  // of this connection in state_.http2_buffered
};

}  // namespace

Task<void> serve_http2(ServerState& s, Connection& c) {
  Http2Server server(s, c);
  co_await server.run();
}

}  // namespace caddis::http
