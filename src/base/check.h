// CHECK: a broken invariant is a bug and ends the process with the values; bad input, disks and peers never do.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

namespace caddis {
[[noreturn]] inline void check_failed(const char* expr, const char* file, int line, const std::string& detail) {
  fmt::print(stderr, "level=ERROR msg=\"BUG: {}:{}: {} {}\"\n", file, line, expr, detail);
  std::abort();
}
}  // namespace caddis

#define CHECK(expr)                                          \
  do {                                                       \
    if (!(expr)) [[unlikely]]                                \
      ::caddis::check_failed(#expr, __FILE__, __LINE__, ""); \
  } while (0)
#define CHECK_EQ(a, b)                                                                                              \
  do {                                                                                                              \
    const auto& check_a_ = (a);                                                                                     \
    const auto& check_b_ = (b);                                                                                     \
    if (!(check_a_ == check_b_)) [[unlikely]]                                                                       \
      ::caddis::check_failed(#a " == " #b, __FILE__, __LINE__, fmt::format("({} against {})", check_a_, check_b_)); \
  } while (0)
