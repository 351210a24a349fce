// For tests: a raw client that sends exactly what it is told, and a loop that runs one coroutine in bounded time.
#pragma once

#include <string>

#include "http/server.h"
#include "loop/stream.h"

namespace caddis::http::testing_support {

// Everything the server sends until it closes (or until 5 s passed, with "TIMEOUT" at the end).
inline Task<std::string> exchange_raw(loop::Loop& loop, std::uint16_t port, std::string wire) {
  auto s = co_await loop::connect_tcp(loop, {"127.0.0.1", port}, 2000, {});
  if (!s) co_return s.error().message();
  (void)co_await (*s)->write(as_bytes(wire), 5000, {});
  std::string got;
  Bytes buf(65536);
  for (;;) {
    auto n = co_await (*s)->read(buf, 5000, {});
    if (!n && n.error().code() == ErrorCode::kTimeout) co_return got + "TIMEOUT";
    if (!n || *n == 0) co_return got;
    got += as_text(ByteView(buf).first(*n));
  }
}

// "HTTP/1.1 200 OK\r\n…" without the Date line, which changes.
inline std::string without_date(std::string text) {
  std::size_t at;
  while ((at = text.find("Date: ")) != std::string::npos) text.erase(at, text.find("\r\n", at) + 2 - at);
  return text;
}

}  // namespace caddis::http::testing_support
