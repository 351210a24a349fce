// The body of a request, while the answer may already be on its way back.
#include "proxy/exchange.h"

namespace caddis::proxy {
namespace {
constexpr std::int64_t kDrainMs = 1'000;                            // for a body that nobody wants
constexpr std::uint64_t kDrainBytes = kMaxReplayBody + 256 * 1024;  // what Fly can replay, it has sent
}  // namespace

loop::Detached Exchange::pump() {
  pumping_ = true;
  {
    Inlet inlet;  // for what is read past the connection's own buffer
    while (co_await pump_some(inlet)) {}
    if (!inlet.empty())
      c_.give_back(inlet.view());
    else if (body_.done())
      c_.watch();
  }
  pumping_ = false;
  if (pump_waiter_) std::exchange(pump_waiter_, nullptr).resume();
}

loop::Task<bool> Exchange::pump_some(Inlet& inlet) {
  bool chunked = request_.body.kind == http::BodyFraming::Kind::kChunked;
  bool own = !c_.input().empty();
  ByteView input = own ? c_.input() : inlet.view();
  Pieces pieces;
  if (!pieces.gather(body_, input, chunked)) {
    cut(Cut::kBadBody);
    co_return false;
  }
  body_seen_ = body_seen_ || !input.empty();
  if (pieces.size() > 0 && !discard_) {
    if (!link_) {
      discard_ = true;
    } else {
      loop::Stream& to = *link_->stream;
      Result<std::size_t> n = to.write_now(pieces.parts());
      // An error: the server may have answered; its answer decides.
      discard_ = !n || !co_await write_rest(to, pieces.parts(), *n, s_.options.stall_ms);
    }
  }
  if (discard_) discarded_ += pieces.consumed();
  own ? c_.use(pieces.consumed()) : inlet.consume(pieces.consumed());
  if (pieces.done() || discarded_ > kDrainBytes) co_return false;
  if (pieces.consumed() > 0 && pieces.consumed() < input.size()) co_return true;

  std::int64_t timeout_ms = s_.options.body_idle_ms;
  if (s_.options.read_timeout_ms > 0) {
    std::int64_t left_ms = c_.request_began() + s_.options.read_timeout_ms - s_.clock.now();
    timeout_ms = std::max<std::int64_t>(std::min(timeout_ms, left_ms), 1);
  }
  bool late = false, ended = c_.ended();
  if (c_.reading()) {
    late = co_await c_.more(timeout_ms);
    ended = c_.ended() && c_.input().empty();
  } else if (!ended) {
    Result<std::size_t> n = co_await c_.stream().read(inlet.room(), timeout_ms, {});
    late = !n && n.error().code() == ErrorCode::kTimeout;
    ended = !late && (!n || *n == 0);
    if (n) inlet.took(*n);
  }
  if (late) cut(Cut::kLateBody);
  if (ended) cut(Cut::kClientGone);
  co_return !late && !ended;
}

// The rest of the body is read and thrown away for a while, so that the connection can be used again.
loop::Task<bool> Exchange::settle_body() {
  bool taken = facts_.body_bytes == inline_body_ || body_.done();
  if (!pumping_ && taken) co_return true;
  discard_ = true;
  if (link_) link_->stream->close();
  bool coming = body_seen_ || continued_ || !request_.expect_continue;
  if (!pumping_ && (cut_ != Cut::kNo || !coming || c_.ended())) co_return false;
  c_.limit_exchange(kDrainMs);
  if (close_) (void)co_await c_.stream().shutdown_write();  // the client need not go on
  if (!pumping_) pump();
  co_await PumpEnd{*this};
  co_return body_.done() && cut_ == Cut::kNo;
}

}  // namespace caddis::proxy
