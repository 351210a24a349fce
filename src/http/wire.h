// Inside of src/http: one connection with a bounded buffer of what was received and not yet used. Loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string_view>

#include "http/parser.h"
#include "loop/stream.h"

namespace caddis::http {

using loop::Task;

// A point in time until which something must have happened; 0 ms from now means never.
class Deadline {
 public:
  explicit Deadline(std::int64_t ms) : limited_(ms > 0), at_(Clock::now() + std::chrono::milliseconds(ms)) {}
  bool passed() const { return limited_ && Clock::now() >= at_; }
  // For the time-out argument of loop functions: at least 1, or 0 for never.
  std::int64_t remaining_ms() const {
    if (!limited_) return 0;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(at_ - Clock::now()).count();
    return left < 1 ? 1 : left;
  }
  // The sooner one of this and ms from now (0: none).
  std::int64_t at_most_ms(std::int64_t ms) const {
    std::int64_t left = remaining_ms();
    return left == 0 || (ms > 0 && ms < left) ? ms : left;
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool limited_;
  Clock::time_point at_;
};

class Wire {
 public:
  explicit Wire(std::unique_ptr<loop::Stream> stream) : stream_(std::move(stream)) {}
  loop::Stream& stream() { return *stream_; }
  std::string_view buffered() const { return as_text(ByteView(buffer_).subspan(begin_, end_ - begin_)); }
  void consume(std::size_t n);
  // Reads more behind buffered(); 0 at the end of the stream. At most kMaxHead + kSpare bytes are ever held.
  Task<Result<std::size_t>> fill(std::int64_t timeout_ms, std::stop_token stop);
  // Up to out.size() bytes of the body, 0 at its end. kCorrupt for a broken framing, kUnavailable when it is cut off.
  // idle_ms limits each wait for bytes.
  Task<Result<std::size_t>> read_body(BodyDecoder& decoder, ByteSpan out, Deadline deadline, std::int64_t idle_ms,
                                      std::stop_token stop);

 private:
  static constexpr std::size_t kSpare = 16 * 1024;
  std::unique_ptr<loop::Stream> stream_;
  Bytes buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace caddis::http
