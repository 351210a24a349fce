#include "http/message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

namespace caddis::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_alnum(char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z'); }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Status parse_query(std::string_view text, Target& out) {
  while (!text.empty()) {
    std::size_t amp = text.find('&');
    std::string_view pair = text.substr(0, amp);
    text = amp == std::string_view::npos ? std::string_view{} : text.substr(amp + 1);
    if (pair.empty()) continue;
    std::size_t eq = pair.find('=');
    auto name = percent_decode(pair.substr(0, eq), true);
    auto value = percent_decode(eq == std::string_view::npos ? std::string_view{} : pair.substr(eq + 1), true);
    if (!name || !value) return invalid("broken percent escape in query \"{}\"", pair);
    out.query.emplace_back(std::move(*name), std::move(*value));
  }
  return {};
}

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::string_view trim_blanks(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool is_token(std::string_view text) {
  static constexpr auto kTable = [] {
    std::array<bool, 256> table{};
    for (char c : std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
      table[static_cast<unsigned char>(c)] = true;
    }
    return table;
  }();
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return kTable[static_cast<unsigned char>(c)]; });
}

// Without an early exit, so that the compiler takes many bytes at once.
bool is_field_value(std::string_view text) {
  bool bad = false;
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    bad |= (u < 0x20) & (u != '\t');
    bad |= u == 0x7f;
  }
  return !bad;
}

bool list_has_token(std::string_view list, std::string_view token) {
  for (;;) {
    std::size_t comma = list.find(',');
    if (equal_ignoring_case(trim_blanks(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

void Headers::set(std::string name, std::string value) {
  remove(name);
  add(std::move(name), std::move(value));
}

void Headers::remove(std::string_view name) {
  std::erase_if(list_, [&](const Header& h) { return equal_ignoring_case(h.name, name); });
}

const std::string* Headers::find(std::string_view name) const {
  for (const Header& h : list_) {
    if (equal_ignoring_case(h.name, name)) return &h.value;
  }
  return nullptr;
}

std::string_view Headers::get(std::string_view name, std::string_view otherwise) const {
  const std::string* v = find(name);
  return v ? std::string_view(*v) : otherwise;
}

std::size_t Headers::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(list_.begin(), list_.end(), [&](const Header& h) { return equal_ignoring_case(h.name, name); }));
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  return std::any_of(list_.begin(), list_.end(), [&](const Header& h) {
    return equal_ignoring_case(h.name, name) && list_has_token(h.value, token);
  });
}

const std::string* Target::param(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<Target> parse_target(std::string_view raw) {
  Target out;
  out.raw = raw;
  bool printable = std::all_of(raw.begin(), raw.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (raw.empty() || !printable || raw.find('#') != std::string_view::npos) {
    return invalid("request target has a character that must be percent-encoded");
  }
  if (raw == "*") {
    out.path = "*";
    return out;
  }
  std::string_view rest = raw;
  if (rest.front() != '/') {
    std::size_t scheme = rest.find("://");
    if (scheme == std::string_view::npos || !(equal_ignoring_case(rest.substr(0, scheme), "http") ||
                                              equal_ignoring_case(rest.substr(0, scheme), "https"))) {
      return invalid("request target \"{}\" is neither a path nor an http URL", raw);
    }
    rest.remove_prefix(scheme + 3);
    std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    out.authority = rest.substr(0, end);
    rest.remove_prefix(end);
    if (out.authority.empty() || out.authority.find('@') != std::string::npos) {
      return invalid("request target \"{}\" has no usable host", raw);
    }
  }
  std::size_t question = rest.find('?');
  auto path = percent_decode(rest.substr(0, question));
  if (!path) return invalid("broken percent escape in path of \"{}\"", raw);
  out.path = path->empty() ? "/" : std::move(*path);
  if (question != std::string_view::npos) TRY(parse_query(rest.substr(question + 1), out));
  return out;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      if (i + 2 >= text.size()) return std::nullopt;
      int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  std::string out;
  for (char c : text) {
    bool plain = is_alnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || (keep_slash && c == '/');
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 423:
      return "Locked";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

std::string http_date(std::int64_t unix_seconds) {
  constexpr std::array kDays = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};  // day 0 was a Thursday
  constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  auto t = static_cast<std::time_t>(unix_seconds);
  std::tm tm{};
  gmtime_r(&t, &tm);
  std::int64_t day = (unix_seconds / 86400) % 7;
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[static_cast<std::size_t>(day < 0 ? 0 : day)],
                     tm.tm_mday, kMonths[static_cast<std::size_t>(tm.tm_mon)], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                     tm.tm_sec);
}

Result<Url> parse_url(std::string_view text) {
  auto bad = [&](std::string_view why) { return invalid("URL \"{}\": {}", text, why); };
  bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!printable) return bad("has a character that must be percent-encoded");
  Url url;
  std::size_t scheme = text.find("://");
  if (scheme == std::string_view::npos) return bad("must begin with http:// or https://");
  url.tls = equal_ignoring_case(text.substr(0, scheme), "https");
  if (!url.tls && !equal_ignoring_case(text.substr(0, scheme), "http"))
    return bad("must begin with http:// or https://");
  std::string_view rest = text.substr(scheme + 3);
  std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, end);
  rest.remove_prefix(end);
  if (authority.find('@') != std::string_view::npos) return bad("user and password do not belong here; use a header");
  if (rest.find('#') != std::string_view::npos) return bad("a fragment (#…) is not sent to servers; remove it");

  std::string_view port_text;
  bool bracketed = authority.starts_with('[');
  std::size_t colon = authority.find(':');
  if (bracketed) {
    std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad("has no ']' after the IPv6 address");
    url.host = authority.substr(1, close - 1);
    colon = close + 1 < authority.size() ? close + 1 : std::string_view::npos;
    if (colon != std::string_view::npos && authority[colon] != ':') return bad("has text after ']'");
  } else {
    url.host = authority.substr(0, colon);
  }
  if (url.host.empty()) return bad("has no host");
  std::uint16_t standard = url.tls ? 443 : 80;
  url.port = standard;
  if (colon != std::string_view::npos) {
    port_text = authority.substr(colon + 1);
    auto [p, ec] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), url.port);
    if (ec != std::errc{} || p != port_text.data() + port_text.size() || url.port == 0) {
      return bad("the port must be a number from 1 to 65535");
    }
  }
  url.authority = bracketed ? fmt::format("[{}]", url.host) : url.host;
  if (url.port != standard) url.authority += fmt::format(":{}", url.port);
  url.target = rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);
  return url;
}

}  // namespace caddis::http
