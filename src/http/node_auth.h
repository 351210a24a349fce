// Requests between nodes that share a secret (http.secret-file): each is signed over its method, target, time, a nonce
// and, where it has one that counts, the hash of its body.
//
//   Caddis-Auth: v1 time=1764061560000 nonce=<32 hex> body=<64 hex or -> mac=<64 hex>
//   mac = HMAC-SHA256(secret, "v1\n" METHOD "\n" TARGET "\n" TIME "\n" NONCE "\n" BODY "\n")
//
// It proves who asks and what for; it hides nothing (the private network does), and answers are not signed. A request
// is taken once, and within a minute of its time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"

namespace caddis::http {

inline constexpr std::string_view kAuthHeader = "Caddis-Auth";
inline constexpr std::string_view kNoBody = "-";  // instead of a hash: the body is not covered

class NodeSecret {
 public:
  // Text of the secret's file: white space at its ends does not count. kInvalid below 16 bytes.
  static Result<NodeSecret> parse(std::string_view text);
  // The header's value. `target`: path and query as sent. body_sha256: 64 hex digits, or kNoBody.
  std::string sign(std::string_view method, std::string_view target, std::string_view body_sha256,
                   std::int64_t wall_ms) const;

 private:
  friend class AuthChecker;
  explicit NodeSecret(std::string secret) : secret_(std::move(secret)) {}
  std::string mac(std::string_view method, std::string_view target, std::string_view time, std::string_view nonce,
                  std::string_view body) const;
  std::string secret_;
};

// Checks incoming requests. One thread at a time.
class AuthChecker {
 public:
  AuthChecker(NodeSecret secret, const Clock& clock) : secret_(std::move(secret)), clock_(clock) {}
  // The body hash that was signed (or kNoBody): compare it with what arrives before acting on it.
  // kDenied, with a text that may be sent: no or broken header, wrong mac, a time that is a minute off, used before.
  Result<std::string> check(std::string_view header, std::string_view method, std::string_view target);

 private:
  NodeSecret secret_;
  const Clock& clock_;
  std::deque<std::pair<std::int64_t, std::string>> used_;  // wall time of arrival, nonce; ascending
  std::set<std::string, std::less<>> nonces_;
};

// SHA-256 of a body in pieces.
class BodyHash {
 public:
  BodyHash();
  ~BodyHash();
  BodyHash(BodyHash&&) noexcept;
  void update(ByteView data);
  std::string hex();  // ends it
 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace caddis::http
