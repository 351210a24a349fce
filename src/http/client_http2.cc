#include "http/client_http2.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <utility>

#include "http/h2_connection.h"

namespace caddis::http {
namespace {

constexpr std::size_t kSendPiece = 64 * 1024;
constexpr H2Limits kLimits{
    .max_streams = 0, .window_bytes = 1u << 20, .max_window_bytes = 4u << 20, .connection_bytes = 16u << 20};
constexpr std::int64_t kHeaderMs = 10'000;
constexpr std::int64_t kWriteMs = 60'000;

}  // namespace

struct Http2Link {
  Http2Link(loop::Loop& loop, std::unique_ptr<Wire> w, std::int64_t idle_ms)
      : wire(std::move(w)),
        http2(loop, *wire, H2Session::Side::kClient, kLimits, H2Timeouts{idle_ms, kHeaderMs, kWriteMs}) {}
  std::unique_ptr<Wire> wire;
  H2Connection http2;
  bool usable() { return !http2.ended() && !http2.session().going_away(); }

  static loop::Detached run(std::shared_ptr<Http2Link> self, std::shared_ptr<Http2Pool> pool, std::string key) {
    co_await self->http2.run([] { return true; });
    auto it = pool->links_.find(key);
    if (it != pool->links_.end() && it->second == self) pool->links_.erase(it);
  }
};

namespace {

// One request. Shared by the coroutine that sends its body and the one that reads the answer.
struct Http2Call {
  Http2Call(loop::Loop& loop, std::shared_ptr<Http2Link> l, Http2Pool::Ask a, H2StreamPtr stream)
      : link(std::move(l)), ask(std::move(a)), channel(loop, std::move(stream)) {}
  ~Http2Call() { link->http2.session().forget(*channel.stream); }
  std::shared_ptr<Http2Link> link;
  Http2Pool::Ask ask;
  H2Channel channel;
  bool abandoned = false;             // nobody wants the answer
  std::optional<Error> send_failure;  // of the body's source
  void abandon() {
    abandoned = true;
    if (!channel.stream->closed && !link->http2.ended()) link->http2.reset(*channel.stream, NGHTTP2_CANCEL);
  }
};

Task<Status> send_body(Http2Call& x) {
  const ClientRequest& r = *x.ask.request;
  if (!r.source) co_return co_await x.link->http2.write(x.channel, r.body, true, kWriteMs, {});
  Bytes piece(kSendPiece);
  for (std::uint64_t offset = 0;;) {
    std::size_t room = piece.size();
    if (r.source_size) room = static_cast<std::size_t>(std::min<std::uint64_t>(room, *r.source_size - offset));
    Result<std::size_t> n = std::size_t{0};
    if (room > 0) n = co_await r.source(offset, ByteSpan(piece).first(room));
    if (n && *n == 0 && r.source_size.value_or(offset) != offset) {
      n = invalid("the request body ended after {} of {} bytes", offset, *r.source_size);
    }
    if (!n) {
      x.send_failure = std::move(n).error().context("request body");
      co_return *x.send_failure;
    }
    if (x.abandoned) co_return Error(ErrorCode::kCancelled, "nobody waits for the answer");
    offset += *n;
    CO_TRY(co_await x.link->http2.write(x.channel, ByteView(piece).first(*n), *n == 0, kWriteMs, {}));
    if (*n == 0) co_return {};
  }
}

loop::Detached send_beside(std::shared_ptr<Http2Call> x) {
  Status sent = co_await send_body(*x);
  if (!sent && !x->channel.stream->in_ended) x->abandon();  // wakes the one that waits for the answer
}

class Http2Reader final : public BodyReader {
 public:
  Http2Reader(std::shared_ptr<Http2Call> x, Deadline deadline) : x_(std::move(x)), deadline_(deadline) {}
  ~Http2Reader() override {
    if (!finished_ || !x_->channel.stream->closed) x_->abandon();
    if (silent_)
      x_->link->http2.end_soon();  // perhaps nobody is there any more: the next request gets a new connection
  }
  int status() const override { return x_->channel.stream->status; }
  const Headers& headers() const override { return x_->channel.stream->headers; }
  std::optional<std::uint64_t> content_length() const override {
    return parse_content_length(headers().get("Content-Length"));
  }
  Task<Result<std::size_t>> read(ByteSpan out, std::stop_token stop) override {
    std::shared_ptr<Http2Call> x = x_;
    std::string what = describe_request(*x->ask.request, x->ask.url);
    if (finished_) co_return std::size_t{0};
    if (deadline_.passed()) co_return Error(ErrorCode::kTimeout, what + ": the answer took too long");
    std::int64_t wait_ms = deadline_.at_most_ms(x->ask.request->idle_timeout_ms);
    Result<std::size_t> n = co_await x->link->http2.read(x->channel, out, wait_ms, std::move(stop));
    if (!n && x->send_failure) n = std::unexpected(*x->send_failure);
    silent_ = !n && n.error().code() == ErrorCode::kTimeout;
    if (!n) co_return std::move(n).error().context(what);
    finished_ = *n == 0;
    co_return n;
  }

 private:
  std::shared_ptr<Http2Call> x_;
  Deadline deadline_;
  bool finished_ = false;
  bool silent_ = false;
};

Headers request_headers(const Http2Pool::Ask& ask) {
  const ClientRequest& r = *ask.request;
  Headers headers;
  if (!r.headers.has("User-Agent")) headers.add("User-Agent", ask.user_agent);
  for (const Header& h : r.headers) headers.add(h.name, h.value);
  bool usual = r.method == "POST" || r.method == "PUT" || r.method == "PATCH";
  if (r.source && r.source_size) headers.add("Content-Length", std::to_string(*r.source_size));
  if (!r.source && (usual || !r.body.empty())) headers.add("Content-Length", std::to_string(r.body.size()));
  return headers;
}

}  // namespace

Task<Result<std::shared_ptr<Http2Link>>> Http2Pool::connect(const Ask& ask, const std::string& key, Deadline deadline,
                                                            std::stop_token stop) {
  std::int64_t wait_ms = deadline.at_most_ms(ask.request->connect_timeout_ms);
  auto stream = co_await dial(loop_, *ask.request, ask.url, wait_ms, stop);
  if (!stream) co_return std::move(stream).error();
  auto link = std::make_shared<Http2Link>(loop_, std::make_unique<Wire>(std::move(*stream)), max_idle_ms_);
  std::shared_ptr<Http2Link> old = std::exchange(links_[key], link);
  if (old) old->http2.end_soon();
  Http2Link::run(link, shared_from_this(), key);
  co_return link;
}

Task<Result<std::unique_ptr<BodyReader>>> Http2Pool::open(Ask ask, Deadline deadline, bool whole,
                                                          std::stop_token stop) {
  std::shared_ptr<Http2Pool> self = shared_from_this();
  const ClientRequest& r = *ask.request;
  std::string what = describe_request(r, ask.url);
  if (ask.url.tls) co_return Error(ErrorCode::kInvalid, what + ": HTTP/2 is spoken in cleartext only; use http://");
  std::string key = fmt::format("{}|{}|{}", ask.url.host, ask.url.port, r.unix_socket);
  std::string authority(r.headers.get("Host", ask.url.authority));
  bool bodyless = !r.source && r.body.empty();
  for (bool first = true, fresh = false;; first = false) {
    std::shared_ptr<Http2Link> link;
    if (auto it = links_.find(key); first && it != links_.end() && it->second->usable()) link = it->second;
    if (link == nullptr) {
      fresh = true;
      Result<std::shared_ptr<Http2Link>> made = co_await connect(ask, key, deadline, stop);
      if (!made) co_return std::move(made).error().context(what);
      link = std::move(*made);
    }
    auto stream =
        link->http2.session().request(r.method, false, authority, ask.url.target, request_headers(ask), bodyless);
    if (!stream) {
      if (!fresh) continue;
      co_return std::move(stream).error().context(what);
    }
    auto x = std::make_shared<Http2Call>(loop_, link, ask, std::move(*stream));
    link->http2.kick();
    if (!bodyless) send_beside(x);
    Status head = co_await link->http2.wait_head(x->channel, deadline.at_most_ms(r.idle_timeout_ms), stop);
    if (closed_) link->http2.end_soon();
    if (head) {
      std::unique_ptr<BodyReader> reader = std::make_unique<Http2Reader>(x, whole ? deadline : Deadline(0));
      co_return reader;
    }
    bool refused = x->channel.stream->error_code == NGHTTP2_REFUSED_STREAM;
    bool repeatable = r.repeatable.value_or(r.method != "POST" && r.method != "PATCH");
    x->abandon();
    if (head.error().code() == ErrorCode::kTimeout) link->http2.end_soon();
    if (!fresh && head.error().code() == ErrorCode::kUnavailable && (refused || repeatable)) continue;
    if (x->send_failure) head = std::unexpected(*x->send_failure);
    co_return std::move(head).error().context(what);
  }
}

void Http2Pool::close() {
  closed_ = true;
  for (auto& [key, link] : std::map(links_)) link->http2.end_soon();
}

}  // namespace caddis::http
