// The cookies that carry what a client has written to the replica that answers its next read. Pure.
//   __txid          LiteFS's: the TXID of the database `proxy.db`, 16 hex digits
//   __caddis_txids  further databases: "NAME:TXID/NAME:TXID", the names percent-encoded ('/' is in no name)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace caddis::proxy {

inline constexpr std::string_view kTxidCookie = "__txid";
inline constexpr std::string_view kTxidsCookie = "__caddis_txids";
inline constexpr std::int64_t kCookieLifeSeconds = 300;  // as LiteFS
inline constexpr std::size_t kMaxCookieDatabases = 32;   // more are ignored

struct DatabaseTxid {
  std::string db;
  Txid txid;
  bool operator==(const DatabaseTxid&) const = default;
};

// The value of the first cookie of this name in one Cookie header, without quotes around it.
std::optional<std::string_view> find_cookie(std::string_view header, std::string_view name);
// nullopt for anything that is not 16 hex digits, and for 0 ("none").
std::optional<Txid> parse_txid_cookie(std::string_view value);
// What is malformed is left out.
std::vector<DatabaseTxid> parse_txids_cookie(std::string_view value);

// "Set-Cookie: …\r\n", with LiteFS's attributes. now: seconds since the Unix epoch.
void append_txid_cookie(std::string& out, Txid txid, std::int64_t now);
void append_txids_cookie(std::string& out, const std::vector<DatabaseTxid>& txids, std::int64_t now);  // none: nothing

}  // namespace caddis::proxy
