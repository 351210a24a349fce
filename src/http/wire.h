// Inside of src/http: one connection with a bounded buffer of what was received and not yet used. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string_view>

#include "http/deadline.h"
#include "http/parser.h"
#include "loop/stream.h"

namespace caddis::http {

using loop::Task;

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
