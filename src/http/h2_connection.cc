#include "http/h2_connection.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>

namespace caddis::http {
namespace {
constexpr std::size_t kOutputBytes = 256 * 1024;
constexpr std::size_t kInputBytes = 128 * 1024;
}  // namespace

H2Channel::H2Channel(loop::Loop& loop, H2StreamPtr s) : stream(std::move(s)), in(loop), out(loop) {
  stream->on_in = [this] { in.set(); };
  stream->on_out = [this] { out.set(); };
}

H2Channel::~H2Channel() { stream->on_in = stream->on_out = nullptr; }

H2Connection::H2Connection(loop::Loop& loop, Wire& wire, H2Session::Side side, H2Limits limits, H2Timeouts timeouts,
                           std::function<void(H2StreamPtr)> on_request)
    : wire_(wire),
      session_(side, limits, std::move(on_request)),
      timeouts_(timeouts),
      output_(loop),
      idle_(timeouts.idle_ms),
      head_(0) {}

// False when nothing has happened for too long.
bool H2Connection::may_stay() {
  if (session_.open_streams() > 0) idle_ = Deadline(timeouts_.idle_ms);
  if (session_.head_in_progress() && !std::exchange(head_begun_, true)) head_ = Deadline(timeouts_.header_ms);
  if (!session_.head_in_progress()) head_begun_ = false;
  if (ending_ && session_.open_streams() == 0) return false;
  return !idle_.passed() && !(head_begun_ && head_.passed());
}

Task<void> H2Connection::run(std::function<bool()> after_feed) {
  loop::TaskGroup writer;
  writer.spawn(pump());
  Bytes input(kInputBytes);
  bool more = true;
  while (more) {
    Result<std::size_t> n = wire_.buffered().size();
    if (*n > 0) {  // what was read to find out the protocol
      std::copy_n(wire_.buffered().begin(), *n, input.begin());
      wire_.consume(*n);
    } else {
      std::int64_t wait_ms = idle_.remaining_ms();
      if (head_begun_) wait_ms = head_.at_most_ms(wait_ms);
      n = co_await wire_.stream().read(input, wait_ms, {});
    }
    if (!n && n.error().code() != ErrorCode::kTimeout) {
      end_reason_ = n.error().message();
      break;
    }
    if (n && *n == 0) {
      end_reason_ = "the other side closed the connection";
      break;
    }
    if (n) {
      Status fed = session_.feed(ByteView(input).first(*n));
      if (!fed) end_reason_ = fed.error().message();
      more = fed.has_value() && !session_.finished();
    }
    more = after_feed() && more && may_stay();
    kick();
  }
  if (end_reason_.empty()) session_.go_away();
  ended_ = true;
  kick();  // the pump sends what is left and ends
  co_await writer.join();
  session_.abandon();
  wire_.stream().close();
}

Task<void> H2Connection::pump() {
  for (;;) {
    output_.reset();
    out_.clear();
    session_.take_output(out_, kOutputBytes);
    if (out_.empty()) {
      if (ended_) co_return;
      if (session_.finished() || (ending_ && session_.open_streams() == 0)) {
        wire_.stream().close();  // wakes run()
        co_return;
      }
      (void)co_await output_.wait(0, {});
      continue;
    }
    Status sent = co_await wire_.stream().write(out_, ended_ ? 1'000 : timeouts_.write_ms, {});
    if (sent) continue;
    if (end_reason_.empty()) end_reason_ = sent.error().message();
    wire_.stream().close();  // wakes run()
    co_return;
  }
}

void H2Connection::end_soon() {
  ending_ = true;
  session_.go_away();
  kick();
}

Error H2Connection::closed_error(const H2Stream& stream) const {
  if (ended_ || stream.error_code == 0) {
    return Error(ErrorCode::kUnavailable, end_reason_.empty() ? "the connection has ended" : end_reason_);
  }
  return Error(ErrorCode::kUnavailable, h2_error_text(stream.error_code));
}

Task<Result<std::size_t>> H2Connection::read(H2Channel& c, ByteSpan out, std::int64_t timeout_ms,
                                             std::stop_token stop) {
  for (;;) {
    if (std::size_t n = session_.read(*c.stream, out); n > 0) {
      kick();  // the window's update
      co_return n;
    }
    if (c.stream->in_ended) co_return std::size_t{0};
    if (c.stream->closed || ended_) co_return closed_error(*c.stream);
    c.in.reset();
    CO_TRY(co_await c.in.wait(timeout_ms, stop));
  }
}

Task<Status> H2Connection::write(H2Channel& c, ByteView data, bool last, std::int64_t timeout_ms,
                                 std::stop_token stop) {
  if (c.stream->closed || ended_) co_return closed_error(*c.stream);
  CHECK(c.stream->out.empty());
  if (data.empty() && !last) co_return {};
  session_.write(*c.stream, data, last);
  kick();
  while (!c.stream->out.empty() && !c.stream->closed && !ended_) {
    std::size_t before = c.stream->out.size();
    c.out.reset();
    Status waited = co_await c.out.wait(timeout_ms, stop);
    bool progress = c.stream->out.size() < before;
    if (waited || (waited.error().code() == ErrorCode::kTimeout && progress)) continue;
    reset(*c.stream, NGHTTP2_CANCEL);
    co_return waited;
  }
  c.stream->out = {};  // of a closed stream
  if (c.stream->closed && !(last && c.stream->error_code == 0)) co_return closed_error(*c.stream);
  if (ended_) co_return closed_error(*c.stream);
  co_return {};
}

Task<Status> H2Connection::wait_head(H2Channel& c, std::int64_t timeout_ms, std::stop_token stop) {
  while (!c.stream->head_complete) {
    if (c.stream->closed || ended_) co_return closed_error(*c.stream);
    c.in.reset();
    CO_TRY(co_await c.in.wait(timeout_ms, stop));
  }
  co_return {};
}

void H2Connection::reset(H2Stream& stream, std::uint32_t code) {
  session_.reset(stream, code);
  kick();
}

}  // namespace caddis::http
