#include "http/wire.h"

#include <algorithm>
#include <cstring>

namespace caddis::http {

void Wire::consume(std::size_t n) {
  begin_ += n;
  if (begin_ == end_) {
    begin_ = end_ = 0;
    if (buffer_.size() > kSpare) Bytes().swap(buffer_);  // after a large head
  }
}

Task<Result<std::size_t>> Wire::fill(std::int64_t timeout_ms, std::stop_token stop) {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  CHECK(end_ < kMaxHead + kSpare);
  std::size_t wanted = std::min(std::max(kSpare, 2 * end_), kMaxHead + kSpare);
  if (buffer_.size() < wanted) buffer_.resize(wanted);
  Result<std::size_t> n = co_await stream_->read(ByteSpan(buffer_).subspan(end_), timeout_ms, std::move(stop));
  if (n) end_ += *n;
  co_return n;
}

Task<Result<std::size_t>> Wire::read_body(BodyDecoder& decoder, ByteSpan out, Deadline deadline, std::int64_t idle_ms,
                                          std::stop_token stop) {
  while (!decoder.done()) {
    Result<std::size_t> n = std::size_t{0};
    if (begin_ == end_ && decoder.plain_bytes() > 0) {  // straight to its place
      std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), decoder.plain_bytes()));
      n = co_await stream_->read(out.first(size), deadline.at_most_ms(idle_ms), stop);
      if (n && *n > 0) {
        decoder.took_plain(*n);
        co_return *n;
      }
    } else {
      auto progress = decoder.decode(as_bytes(buffered()), out);
      if (!progress) co_return Error(ErrorCode::kCorrupt, progress.error().text);
      consume(progress->consumed);
      if (progress->produced > 0) co_return progress->produced;
      if (decoder.done()) break;
      if (begin_ != end_ || decoder.plain_bytes() > 0) continue;
      n = co_await fill(deadline.at_most_ms(idle_ms), stop);
    }
    if (!n) co_return std::move(n).error();
    if (*n > 0) continue;
    auto ended = decoder.end_of_stream();
    if (!ended) co_return Error(ErrorCode::kUnavailable, stream_->peer() + ": " + ended.error().text);
  }
  co_return std::size_t{0};
}

}  // namespace caddis::http
