// What HTTP messages are made of: headers, request targets, names of status codes. Pure; any thread.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace caddis::http {

bool equal_ignoring_case(std::string_view a, std::string_view b);  // ASCII
std::string_view trim_blanks(std::string_view s);                  // without spaces and tabs at its ends
bool is_token(std::string_view text);                              // RFC 9110 5.6.2, not empty
bool is_field_value(std::string_view text);                        // no control characters but tab

// True when one of the comma-separated elements of list is token, without case.
bool list_has_token(std::string_view list, std::string_view token);

struct Header {
  std::string name, value;
  bool operator==(const Header&) const = default;
};

// In the order of arrival; names compare without case.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<Header> list) : list_(list) {}
  void add(std::string name, std::string value) { list_.push_back({std::move(name), std::move(value)}); }
  void set(std::string name, std::string value);  // replaces all of that name
  void remove(std::string_view name);
  const std::string* find(std::string_view name) const;  // the first, or nullptr
  std::string_view get(std::string_view name, std::string_view otherwise = {}) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  std::size_t count(std::string_view name) const;
  // True when one of the comma-separated values of name is token: has_token("Connection", "close").
  bool has_token(std::string_view name, std::string_view token) const;
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }
  std::size_t size() const { return list_.size(); }
  bool empty() const { return list_.empty(); }

 private:
  std::vector<Header> list_;
};

// A request target in origin form ("/path?query"), absolute form ("http://host/path?query") or "*".
struct Target {
  std::string raw;                                         // as sent
  std::string authority;                                   // of the absolute form, else empty
  std::string path;                                        // percent-decoded; starts with "/" ("*" is itself)
  std::vector<std::pair<std::string, std::string>> query;  // decoded, '+' is a space, in order
  // The first value, or nullptr.
  const std::string* param(std::string_view name) const;
};
// kInvalid: another form, a broken percent escape, an encoded NUL.
Result<Target> parse_target(std::string_view raw);

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
// Escapes all but RFC 3986's unreserved characters, and '/' if wanted.
std::string percent_encode(std::string_view text, bool keep_slash = false);

std::string_view reason_phrase(int status);        // "OK"; "Status" when unknown
std::string http_date(std::int64_t unix_seconds);  // "Sun, 06 Nov 1994 08:49:37 GMT"

// "http://host:port/path?query" and "https://…". Other schemes, user info, white space and a fragment are kInvalid.
struct Url {
  bool tls = false;
  std::string host;  // IPv6 without brackets
  std::uint16_t port = 0;
  std::string target;     // "/path?query", not decoded
  std::string authority;  // for the Host header: without the default port
};
Result<Url> parse_url(std::string_view text);

}  // namespace caddis::http
