#include "proxy/request_time.h"

#include <charconv>

namespace caddis::proxy {

std::optional<std::int64_t> parse_request_start(std::string_view value) {
  if (value.starts_with("t=")) value.remove_prefix(2);
  std::int64_t number = 0;
  auto [p, ec] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (ec != std::errc{} || number <= 0) return std::nullopt;
  std::string_view rest = value.substr(static_cast<std::size_t>(p - value.data()));
  constexpr std::int64_t kYear2100 = 4'102'444'800;  // in seconds
  if (number >= kYear2100 * 1000) number /= 1000;    // microseconds
  bool seconds = number < kYear2100;
  if (!seconds) return rest.empty() ? std::optional(number) : std::nullopt;
  number *= 1000;
  if (rest.empty()) return number;
  if (rest.size() < 2 || rest.front() != '.') return std::nullopt;
  std::int64_t scale = 100;
  for (char c : rest.substr(1)) {
    if (c < '0' || c > '9') return std::nullopt;
    number += scale * (c - '0');
    scale /= 10;
  }
  return number;
}

std::optional<std::int64_t> parse_fly_request_id(std::string_view value) {
  constexpr std::string_view kCrockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  if (value.size() < 26 || value[0] > '7') return std::nullopt;  // 48 bits
  std::int64_t ms = 0;
  for (char c : value.substr(0, 10)) {
    std::size_t digit = kCrockford.find(c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
    if (digit == std::string_view::npos) return std::nullopt;
    ms = ms * 32 + static_cast<std::int64_t>(digit);
  }
  return ms;
}

}  // namespace caddis::proxy
