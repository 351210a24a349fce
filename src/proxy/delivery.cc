// One request on its way to a server, and the answer on its way back.
#include <array>

#include "proxy/exchange.h"
#include "proxy/tunnel.h"

namespace caddis::proxy {
namespace {

constexpr int kMaxInterim = 32;                    // 1xx answers before the real one
constexpr std::size_t kMaxInlineBody = 64 * 1024;  // sent in one write with the head

}  // namespace

loop::Task<Status> write_rest(loop::Stream& stream, std::span<const ByteView> parts, std::size_t sent,
                              std::int64_t timeout_ms) {
  for (ByteView part : parts) {
    std::size_t skip = std::min(sent, part.size());
    sent -= skip;
    if (skip < part.size()) CO_TRY(co_await stream.write(part.subspan(skip), timeout_ms, {}));
  }
  co_return {};
}

// May be sent a second time when a kept connection gives no answer.
bool Exchange::repeatable() const {
  bool safe = request_.method == "GET" || request_.method == "HEAD" || request_.method == "OPTIONS";
  return safe && (facts_.body_bytes == 0u || facts_.body_bytes == inline_body_);
}

std::optional<Exchange::Sent> Exchange::interrupted() const {
  if (cut_ == Cut::kNo) return std::nullopt;
  return cut_ == Cut::kWroteHere ? Sent::kMove : Sent::kCut;
}

loop::Task<Status> Exchange::to_client(std::span<const ByteView> parts, std::size_t size) {
  Result<std::size_t> n = c_.stream().write_now(parts);
  if (n && *n == size) co_return {};
  if (n) {
    Status rest = co_await write_rest(c_.stream(), parts, *n, s_.options.stall_ms);
    if (rest) co_return {};
    n = std::unexpected(std::move(rest).error());
  }
  if (cut_ == Cut::kNo) cut_ = Cut::kClientGone;
  co_return std::unexpected(std::move(n).error());
}

// A kept connection first, a new one when it turns out dead before anything is lost.
loop::Task<Exchange::Sent> Exchange::deliver(Upstream& up, const RequestRoute& route) {
  for (bool fresh = false;; fresh = true) {
    link_ = fresh ? nullptr : up.take(repeatable() ? kLinkIdleMs : s_.options.fresh_ms);
    if (!link_) {
      auto link = co_await up.connect(s_.options.target_timeout_ms, waits());
      if (auto end = interrupted()) co_return *end;
      if (!link) co_return co_await no_answer(up, std::move(link).error());
      link_ = std::move(*link);
    }
    Sent sent = co_await deliver_over_link(up, route);
    if (sent != Sent::kStale) co_return sent;
    s_.count.target_retries.inc();
  }
}

loop::Task<Exchange::Sent> Exchange::deliver_over_link(Upstream& up, const RequestRoute& route) {
  std::string& out = c_.scratch();
  out.clear();
  append_request(out, request_, c_.request_fields(), c_.notes(), route);
  std::array<ByteView, 2> parts = {as_bytes(out), ByteView()};
  bool with_body = !body_seen_ && facts_.body_bytes && *facts_.body_bytes > 0 &&
                   *facts_.body_bytes <= std::min(c_.input().size(), kMaxInlineBody);
  if (with_body) {
    inline_body_ = static_cast<std::size_t>(*facts_.body_bytes);
    parts[1] = c_.input().first(inline_body_);
  }
  std::size_t size = parts[0].size() + parts[1].size();
  bool first_use = !link_->kept;
  Result<std::size_t> n = link_->stream->write_now(parts);
  // The server had closed the connection: it has seen nothing of the request, whose body is still here.
  if (!n && !first_use) co_return Sent::kStale;
  Status sent;
  if (!n)
    sent = std::unexpected(std::move(n).error());
  else if (*n < size)
    sent = co_await write_rest(*link_->stream, parts, *n, s_.options.stall_ms);
  if (auto end = interrupted()) co_return *end;
  if (sent && facts_.body_bytes != inline_body_)
    pump();
  else if (!pumping_)
    c_.watch();

  http::ResponseView answer;
  std::size_t head_size = 0;
  for (int interims = 0;; ++interims) {
    Result<std::size_t> got = co_await receive_head(answer);  // even of a server that has stopped reading
    if (auto end = interrupted()) co_return *end;
    if (!got && !sent) got = std::unexpected(sent.error());
    if (!got) {
      bool stale = !first_use && interims == 0 && link_->inlet.empty() && repeatable() &&
                   got.error().code() != ErrorCode::kCorrupt;
      if (stale) co_return Sent::kStale;
      co_return co_await no_answer(up, std::move(got).error());
    }
    head_size = *got;
    if (answer.status >= 200 || answer.status == 101) break;
    if (interims == kMaxInterim) co_return co_await no_answer(up, Error(ErrorCode::kCorrupt, "endless 1xx answers"));
    if (!co_await interim(answer)) co_return Sent::kCut;
    link_->inlet.consume(head_size);
  }
  at_app_ = false;

  if (answer.status == 101 && !facts_.upgrade) {
    co_return co_await no_answer(up, Error(ErrorCode::kCorrupt, "it changes the protocol unasked"));
  }
  if (answer.status == 101) co_return co_await upgrade(answer, head_size);
  // The app's word for "that did not work", and the file layer knows why.
  bool wrote = answer.status >= 500 && s_.node.refused_writes() != refused_before_;
  if (wrote && !to_peer_ && may_move()) co_return Sent::kMove;
  // A primary that is none any more would send the client in a circle, or nowhere off Fly.
  if (to_peer_ && asks_for_replay(c_.answer_fields()) &&
      !(s_.options.fly && decide(facts_, node_facts()) == Action::kReplay)) {
    co_return co_await unavailable("the primary has moved") ? Sent::kAnswered : Sent::kCut;
  }
  own_fields_.clear();
  std::string held = gated_ ? co_await hold_back() : std::string();
  if (auto end = interrupted()) co_return *end;
  if (!held.empty()) {
    s_.count.withheld.inc();
    co_return co_await unavailable(held) ? Sent::kAnswered : Sent::kCut;
  }
  Sent result = co_await relay(up, answer, head_size);
  bool request_sent = sent && !pumping_ && !discard_;
  bool whole = result == Sent::kAnswered && link_ && answer.keep_alive && request_sent && cut_ == Cut::kNo;
  if (whole)
    up.keep(std::move(link_));
  else
    link_.reset();
  co_return result;
}

// The length of the next head in the link's buffer; the views point into it.
loop::Task<Result<std::size_t>> Exchange::receive_head(http::ResponseView& answer) {
  http::HeadScanner scanner;
  Inlet& inlet = link_->inlet;
  for (;;) {
    auto length = scanner.scan(inlet.text());
    if (!length) co_return Error(ErrorCode::kCorrupt, "not an HTTP/1.1 answer: " + length.error().text);
    if (*length > 0) {
      auto view = http::parse_response_view(inlet.text().substr(0, *length), request_.method, c_.answer_fields());
      if (!view) co_return Error(ErrorCode::kCorrupt, "not an HTTP/1.1 answer: " + view.error().text);
      answer = *view;
      co_return *length;
    }
    CO_TRY_ASSIGN(std::size_t n, co_await link_->stream->read(inlet.room(), 0, {}));
    if (n == 0) co_return Error(ErrorCode::kUnavailable, link_->stream->peer() + " closed the connection");
    inlet.took(n);
  }
}

loop::Task<Status> Exchange::interim(const http::ResponseView& answer) {
  continued_ = continued_ || answer.status == 100;
  if (request_.minor == 0) co_return {};
  std::string& out = c_.scratch();
  out.clear();
  append_response(out, answer, c_.answer_fields(), {});
  ByteView part = as_bytes(out);
  co_return co_await to_client(std::span(&part, 1), part.size());
}

loop::Task<Exchange::Sent> Exchange::no_answer(Upstream& up, Error cause) {
  link_.reset();
  if (cut_ == Cut::kBadBody || cut_ == Cut::kLateBody) co_return Sent::kCut;
  s_.count.target_errors.inc();
  std::string text = fmt::format("{}: {}", up.host(), cause.message());
  s_.warn("proxy: no answer from " + text);
  bool told = co_await answer(502, "Proxy error: " + text + "\n");
  co_return told ? Sent::kAnswered : Sent::kCut;
}

loop::Task<Exchange::Sent> Exchange::relay(Upstream& up, const http::ResponseView& answer, std::size_t head_size) {
  using Kind = http::BodyFraming::Kind;
  std::string& head = c_.scratch();
  head.clear();
  close_ = closes();
  Kind kind = append_response(head, answer, c_.answer_fields(),
                              {.client_minor = request_.minor, .close = close_, .own_fields = own_fields_});
  close_ = close_ || kind == Kind::kUntilClose;
  http::BodyDecoder decoder(answer.body);
  Inlet& inlet = link_->inlet;
  inlet.consume(head_size);
  Pieces pieces;
  for (std::string_view before = head;; before = {}) {
    auto good = pieces.gather(decoder, inlet.view(), kind == Kind::kChunked, before);
    if (!good && !answering_) {
      co_return co_await no_answer(up, Error(ErrorCode::kCorrupt, "not an HTTP/1.1 answer: " + good.error().text));
    }
    if (!good) co_return Sent::kCut;
    if (gated_ && pieces.done() && !co_await gate_opens()) {
      s_.count.withheld.inc();
      co_return Sent::kCut;
    }
    if (pieces.size() > 0) {
      if (!std::exchange(answering_, true)) s_.count.answers(answer.status).inc();
      if (!co_await to_client(pieces.parts(), pieces.size())) co_return Sent::kCut;
    }
    inlet.consume(pieces.consumed());
    if (pieces.done()) co_return Sent::kAnswered;
    if (pieces.consumed() > 0 && !inlet.empty()) continue;
    Result<std::size_t> n = co_await link_->stream->read(inlet.room(), 0, {});
    if (!n) co_return Sent::kCut;
    inlet.took(*n);
    if (*n > 0) continue;
    if (!decoder.end_of_stream()) co_return Sent::kCut;
    if (gated_ && !co_await gate_opens()) {
      s_.count.withheld.inc();
      co_return Sent::kCut;
    }
    ByteView last = as_bytes(http::kLastChunk);
    if (kind == Kind::kChunked && !co_await to_client(std::span(&last, 1), last.size())) co_return Sent::kCut;
    co_return Sent::kAnswered;
  }
}

loop::Task<Exchange::Sent> Exchange::upgrade(const http::ResponseView& answer, std::size_t head_size) {
  std::string& head = c_.scratch();
  head.clear();
  append_response(head, answer, c_.answer_fields(), {.upgrade = true});
  link_->inlet.consume(head_size);
  s_.count.answers(101).inc();
  answering_ = close_ = true;
  ByteView part = as_bytes(head);
  if (!co_await to_client(std::span(&part, 1), part.size())) co_return Sent::kCut;
  s_.count.tunnels.add(1);
  tunnel_ = true;
  c_.limit_exchange(0);
  co_await tunnel(c_, *link_, s_.options.stall_ms);
  s_.count.tunnels.add(-1);
  link_.reset();
  co_return Sent::kCut;  // both sides have ended: nothing is left to be said
}

}  // namespace caddis::proxy
