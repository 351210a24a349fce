// For tests: a raw client that sends exactly what it is told, commands that run beside the loop.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <thread>

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

// The output of a shell command (curl, mostly) for which the loop runs meanwhile.
inline std::string run_beside(loop::Loop& loop, const std::string& command) {
  std::string out;
  std::thread t([&] {
    FILE* p = ::popen(command.c_str(), "r");
    char buf[4096];
    while (std::size_t n = std::fread(buf, 1, sizeof buf, p)) out.append(buf, n);
    ::pclose(p);
    loop.stop();
  });
  loop.run();
  t.join();
  return out;
}

// Of this process's memory.
inline long resident_kib() {
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  long pages = 0, rss = 0;
  EXPECT_EQ(std::fscanf(f, "%ld %ld", &pages, &rss), 2);
  std::fclose(f);
  return rss * 4;
}

}  // namespace caddis::http::testing_support
