#include "proxy/cookies.h"

#include <algorithm>

#include "http/message.h"

namespace caddis::proxy {
namespace {

// Cuts off what stands before the separator.
std::string_view next_part(std::string_view& rest, char separator) {
  std::size_t end = rest.find(separator);
  std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

void append_cookie(std::string& out, std::string_view name, std::string_view value, std::int64_t now) {
  out += fmt::format("Set-Cookie: {}={}; Path=/; Expires={}; HttpOnly\r\n", name, value,
                     http::http_date(now + kCookieLifeSeconds));
}

}  // namespace

std::optional<std::string_view> find_cookie(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    std::string_view pair = http::trim_blanks(next_part(header, ';'));
    if (!pair.starts_with(name)) continue;
    std::string_view rest = pair.substr(name.size());
    if (rest.empty() || rest.front() != '=') continue;
    rest.remove_prefix(1);
    if (rest.size() >= 2 && rest.front() == '"' && rest.back() == '"') rest = rest.substr(1, rest.size() - 2);
    return rest;
  }
  return std::nullopt;
}

std::optional<Txid> parse_txid_cookie(std::string_view value) {
  if (value.size() != 16) return std::nullopt;
  std::string lower(value);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  Result<std::uint64_t> txid = parse_hex16(lower);
  if (!txid || *txid == 0) return std::nullopt;
  return Txid(*txid);
}

std::vector<DatabaseTxid> parse_txids_cookie(std::string_view value) {
  std::vector<DatabaseTxid> out;
  while (!value.empty() && out.size() < kMaxCookieDatabases) {
    std::string_view part = next_part(value, '/');
    std::string_view encoded = next_part(part, ':');
    std::optional<std::string> name = http::percent_decode(encoded);
    std::optional<Txid> txid = parse_txid_cookie(part);
    if (name && !name->empty() && txid) out.push_back({std::move(*name), *txid});
  }
  return out;
}

void append_txid_cookie(std::string& out, Txid txid, std::int64_t now) {
  append_cookie(out, kTxidCookie, to_hex(txid), now);
}

void append_txids_cookie(std::string& out, const std::vector<DatabaseTxid>& txids, std::int64_t now) {
  std::string value;
  for (const DatabaseTxid& t : txids) {
    value += fmt::format("{}{}:{}", value.empty() ? "" : "/", http::percent_encode(t.db), t.txid);
  }
  if (!value.empty()) append_cookie(out, kTxidsCookie, value, now);
}

}  // namespace caddis::proxy
