#include "proxy/connection.h"

#include <ctime>

#include "base/log.h"
#include "proxy/exchange.h"

namespace caddis::proxy {
namespace {
constexpr std::size_t kSmallBuffer = 4 * 1024;                  // of an idle connection
constexpr std::size_t kBuffer = 16 * 1024;                      // of one whose head did not fit
constexpr std::size_t kLargeBuffer = http::kMaxHead + kBuffer;  // of one whose head did not fit into that
constexpr std::size_t kMaxLargeBuffers = 128;                   // 10 MiB, whatever clients send
constexpr std::size_t kLeastRoom = 1024;                        // behind a head, for what follows it
constexpr std::int64_t kLingerMs = 1'000;  // for a client to read an answer before its connection is closed
constexpr std::size_t kLingerBytes = 256 * 1024;
}  // namespace

void append_own_answer(std::string& out, int status, std::string_view own_fields, std::string_view text, bool close,
                       bool head_only) {
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n{}", status, http::reason_phrase(status), own_fields);
  if (!text.empty()) out += "Content-Type: text/plain; charset=utf-8\r\n";
  fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\nDate: {}\r\n{}\r\n", text.size(),
                 http::http_date(std::time(nullptr)), close ? "Connection: close\r\n" : "");
  if (!head_only) out += text;
}

Connection::Connection(std::shared_ptr<State> state, std::unique_ptr<loop::Stream> stream)
    : state_(std::move(state)), stream_(std::move(stream)), peer_(stream_->peer()) {}

Connection::~Connection() { free_buffer(); }

TimeMs Connection::deadline(std::int64_t timeout_ms) const {
  return timeout_ms > 0 ? state_->clock.now() + timeout_ms : TimeMs();
}

// ---- the buffer

void Connection::use(std::size_t n) {
  begin_ += n;
  if (begin_ == end_) begin_ = end_ = reading_ ? end_ : pinned_;  // a read under way writes at end_
}

// Where the next bytes go. Moves and grows only what no view points into.
ByteSpan Connection::room() {
  if (pinned_ == 0) {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    std::size_t wanted = end_ == 0 ? kSmallBuffer : end_ < kBuffer - kLeastRoom ? kBuffer : kLargeBuffer;
    if (wanted == kLargeBuffer && !large_) {
      if (state_->large_buffers == kMaxLargeBuffers) return {};
      large_ = true;
      ++state_->large_buffers;
    }
    if (buffer_.size() < wanted) buffer_.resize(wanted);
  }
  return ByteSpan(buffer_).subspan(end_);
}

void Connection::free_buffer() {
  Bytes().swap(buffer_);
  if (std::exchange(large_, false)) --state_->large_buffers;
}

loop::Detached Connection::read_some() {
  if (reading_ || ended_) co_return;
  ByteSpan space = room();
  if (space.empty()) co_return;
  std::shared_ptr<Connection> self = shared_from_this();
  reading_ = true;
  Result<std::size_t> n = co_await stream_->read(space, 0, {});
  reading_ = false;
  if (n && *n > 0) {
    end_ += *n;
  } else {
    ended_ = true;
    failed_ = !n;
  }
  if (waiter_) {
    std::exchange(waiter_, nullptr).resume();
  } else if (ended_ && exchange_) {
    exchange_->client_ended();
  } else if (exchange_ && buffer_.size() - end_ >= kLeastRoom) {
    read_some();  // the next request already; its sender may still go away
  }
}

bool Connection::More::await_ready() {
  if (!c.reading_) c.read_some();
  return !c.reading_;
}

bool Connection::More::await_resume() {
  c.wait_until_ = TimeMs();
  return std::exchange(c.late_, false);
}

void Connection::sweep(TimeMs now) {
  std::shared_ptr<Connection> self = shared_from_this();
  if (exchange_until_ != TimeMs() && now >= exchange_until_) {
    exchange_until_ = TimeMs();
    cut();
  } else if (wait_until_ != TimeMs() && now >= wait_until_) {
    wait_until_ = TimeMs();
    late_ = true;
    if (waiter_) std::exchange(waiter_, nullptr).resume();
  }
}

void Connection::cut() {
  std::shared_ptr<Connection> self = shared_from_this();
  if (exchange_) exchange_->cut(Exchange::Cut::kStopped);
  stream_->close();
}

// ---- requests

loop::Task<void> Connection::serve() {
  std::shared_ptr<Connection> self = shared_from_this();
  for (bool first = true, more = true; more; first = false) {
    std::size_t length = co_await read_head(first);
    more = length > 0 && co_await exchange(length);
  }
  stream_->close();
}

loop::Task<std::size_t> Connection::read_head(bool first) {
  const Options& options = state_->options;
  http::HeadScanner scanner;
  bool begun = first;  // a new connection has to send at once
  TimeMs until = deadline(begun ? options.read_header_timeout_ms : options.idle_timeout_ms);
  for (;;) {
    std::string_view text = as_text(input());
    if (!text.empty() && (!begun || request_began_ == TimeMs())) {
      if (!begun) until = deadline(options.read_header_timeout_ms);
      begun = true;
      if (options.read_timeout_ms > 0) request_began_ = state_->clock.now();
    }
    auto length = scanner.scan(text);
    if (!length) {
      co_await refuse(length.error().status, length.error().text);
      co_return 0;
    }
    if (*length > 0) co_return *length;
    if (ended_) co_return 0;
    if (!reading_ && room().empty()) {
      co_await refuse(503, "too many requests with large heads");
      co_return 0;
    }
    wait_until_ = until;
    bool late = co_await More{*this};
    if (!late) continue;
    if (!input().empty()) {
      co_await refuse(408, fmt::format("no complete head within {} ms", options.read_header_timeout_ms));
    }
    co_return 0;
  }
}

// True when the connection can carry the next request.
loop::Task<bool> Connection::exchange(std::size_t head_length) {
  if (!reading_ && buffer_.size() - end_ < kLeastRoom) buffer_.resize(end_ + kBuffer);
  std::string_view head = as_text(input()).substr(0, head_length);
  auto view = http::parse_request_view(head, request_fields_);
  if (!view) {
    co_await refuse(view.error().status, view.error().text);
    co_return false;
  }
  pinned_ = begin_ + head_length;
  use(head_length);
  Exchange::After after = Exchange::After::kCut;
  {
    Exchange x(*state_, *this, *view);
    exchange_ = &x;
    after = co_await x.run();
    exchange_ = nullptr;
  }
  exchange_until_ = request_began_ = TimeMs();
  pinned_ = 0;
  if (!reading_ && begin_ == end_) begin_ = end_ = 0;
  if (!returned_.empty()) {  // never while reading: the body's reader was the last to read
    if (buffer_.size() - end_ < returned_.size()) buffer_.resize(end_ + returned_.size());
    std::copy(returned_.begin(), returned_.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(end_));
    end_ += returned_.size();
    Bytes().swap(returned_);
  }
  if (!reading_ && end_ == 0 && buffer_.size() > kSmallBuffer) free_buffer();
  if (after == Exchange::After::kLinger) co_await linger();
  co_return after == Exchange::After::kNext;
}

loop::Task<void> Connection::refuse(int status, std::string text) {
  state_->count.malformed.inc();
  state_->count.answers(status).inc();
  if (state_->options.debug) {
    log_info("proxy: refused a request", {{"peer", peer_}, {"status", std::to_string(status)}, {"why", text}});
  }
  scratch_.clear();
  append_own_answer(scratch_, status, "", text + "\n", true, false);
  if (co_await stream_->write(as_bytes(scratch_), kLingerMs, {})) co_await linger();
}

void Connection::refuse_at_once() {
  append_own_answer(scratch_, 503, "Retry-After: 1\r\n", "Proxy error: too many connections\n", true, false);
  ByteView part = as_bytes(scratch_);
  (void)stream_->write_now(std::span(&part, 1));
  stream_->close();
}

// Lets the client read what was sent: closing a connection with unread input may destroy an answer on its way.
loop::Task<void> Connection::linger() {
  if (!co_await stream_->shutdown_write()) co_return;
  TimeMs until = deadline(kLingerMs);
  for (std::size_t total = 0; !ended_ && total < kLingerBytes;) {
    total += input().size();
    use(input().size());
    wait_until_ = until;
    if (co_await More{*this}) co_return;
  }
}

}  // namespace caddis::proxy
