#include "config/duration.h"

#include <array>
#include <limits>
#include <utility>

namespace caddis::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t ns;
};
constexpr std::array<Unit, 8> kUnits{{{"ns", 1},
                                      {"us", 1'000},
                                      {"\u00b5s", 1'000},  // micro sign
                                      {"\u03bcs", 1'000},  // Greek mu
                                      {"ms", 1'000'000},
                                      {"s", 1'000'000'000},
                                      {"m", 60'000'000'000},
                                      {"h", 3'600'000'000'000}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes one "1.5h" off the front of text.
std::optional<__int128> take_term(std::string_view& text) {
  __int128 whole = 0;
  double fraction = 0;
  double scale = 1;
  bool digits = false;
  while (!text.empty() && is_digit(text[0])) {
    whole = whole * 10 + (text[0] - '0');
    if (whole > std::numeric_limits<std::int64_t>::max()) return std::nullopt;
    digits = true;
    text.remove_prefix(1);
  }
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    while (!text.empty() && is_digit(text[0])) {
      scale /= 10;
      fraction += scale * (text[0] - '0');
      digits = true;
      text.remove_prefix(1);
    }
  }
  if (!digits) return std::nullopt;
  std::size_t end = 0;
  while (end < text.size() && text[end] != '.' && !is_digit(text[end])) ++end;
  for (const Unit& unit : kUnits) {
    if (text.substr(0, end) != unit.name) continue;
    text.remove_prefix(end);
    return whole * unit.ns + static_cast<__int128>(fraction * static_cast<double>(unit.ns) + 1e-6);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> parse_duration_ns(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  __int128 total = 0;
  while (!text.empty()) {
    std::optional<__int128> term = take_term(text);
    if (!term) return std::nullopt;
    total += *term;
    if (total > std::numeric_limits<std::int64_t>::max()) return std::nullopt;
  }
  auto ns = static_cast<std::int64_t>(total);
  return negative ? -ns : ns;
}

std::optional<std::int64_t> parse_duration_ms(std::string_view text) {
  std::optional<std::int64_t> ns = parse_duration_ns(text);
  if (!ns) return std::nullopt;
  std::int64_t ms = *ns / 1'000'000;
  if (*ns % 1'000'000 != 0) ms += *ns > 0 ? 1 : -1;
  return ms;
}

}  // namespace caddis::config
