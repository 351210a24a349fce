#include "store/times.h"

#include <fmt/core.h>

#include <array>
#include <chrono>
#include <ctime>

namespace caddis::store {
namespace {

// `digits` decimal digits at `at`; -1 when they are not there.
int number(std::string_view text, std::size_t at, std::size_t digits) {
  if (at + digits > text.size()) return -1;
  int value = 0;
  for (char c : text.substr(at, digits)) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

std::optional<std::int64_t> to_seconds(int year, int month, int day, int hour, int minute, int second) {
  if (year < 0 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
      second > 60)
    return std::nullopt;
  std::chrono::year_month_day date(std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return std::nullopt;
  std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

std::tm utc(std::int64_t wall_ms, int& ms) {
  std::int64_t seconds = wall_ms / 1000;
  ms = static_cast<int>(wall_ms % 1000);
  if (ms < 0) {
    ms += 1000;
    --seconds;
  }
  std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return parts;
}

// Z, +hh:mm or -hh:mm, as minutes.
std::optional<int> zone_minutes(std::string_view zone) {
  if (zone == "Z") return 0;
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return std::nullopt;
  int hours = number(zone, 1, 2), minutes = number(zone, 4, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
  return (hours * 60 + minutes) * (zone[0] == '-' ? -1 : 1);
}

}  // namespace

std::string rfc3339_nano(std::int64_t wall_ms) {
  int ms = 0;
  std::tm t = utc(wall_ms, ms);
  std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
                                t.tm_hour, t.tm_min, t.tm_sec);
  if (ms != 0) {
    out += fmt::format(".{:03}", ms);
    while (out.ends_with('0')) out.pop_back();
  }
  return out + "Z";
}

std::optional<std::int64_t> parse_rfc3339(std::string_view text) {
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  std::optional<std::int64_t> seconds = to_seconds(number(text, 0, 4), number(text, 5, 2), number(text, 8, 2),
                                                   number(text, 11, 2), number(text, 14, 2), number(text, 17, 2));
  if (!seconds) return std::nullopt;
  std::size_t at = 19;
  std::int64_t ms = 0;
  if (text[at] == '.') {
    std::size_t first = ++at;
    std::int64_t scale = 100;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) ms += (text[at] - '0') * scale;
    if (at == first) return std::nullopt;
  }
  std::optional<int> zone = zone_minutes(text.substr(at));
  if (!zone) return std::nullopt;
  return (*seconds - *zone * 60) * 1000 + ms;
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || text.substr(3, 2) != ", " || !text.ends_with(" GMT") || text[19] != ':' || text[22] != ':')
    return std::nullopt;
  int month = 0;
  for (std::size_t i = 0; i < kMonths.size(); ++i)
    if (text.substr(8, 3) == kMonths[i]) month = static_cast<int>(i) + 1;
  std::optional<std::int64_t> seconds = to_seconds(number(text, 12, 4), month, number(text, 5, 2), number(text, 17, 2),
                                                   number(text, 20, 2), number(text, 23, 2));
  if (!seconds) return std::nullopt;
  return *seconds * 1000;
}

std::string amz_date(std::int64_t wall_ms) {
  int ms = 0;
  std::tm t = utc(wall_ms, ms);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min,
                     t.tm_sec);
}

}  // namespace caddis::store
