// AWS Signature Version 4 in the Authorization header, with the payload's SHA-256. Pure.
// Source: AWS "Authenticating Requests: Using the Authorization Header".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/digest.h"

namespace caddis::store {

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty: none
};

using NameValues = std::vector<std::pair<std::string, std::string>>;

struct SigningRequest {
  std::string method;
  std::string path;    // encoded, as sent: "/bucket/a%20b"
  NameValues query;    // not encoded
  NameValues headers;  // lower-case names, all of them are signed; with host and x-amz-date
  std::string payload_sha256_hex;
};

struct SigningScope {
  std::string amz_date;  // "20130524T000000Z"
  std::string region;
  std::string service = "s3";
};

// RFC 3986 with upper-case hex: all but A-Za-z0-9-._~ is escaped, '/' too unless kept.
std::string uri_encode(std::string_view text, bool keep_slash);
// Encoded and sorted, as it is signed and as it is sent: "list-type=2&prefix=a%2F".
std::string canonical_query(const NameValues& query);
std::string canonical_request(const SigningRequest& request);
Sha256 signing_key(std::string_view secret, const SigningScope& scope);
// The value of the Authorization header.
std::string authorization(const SigningRequest& request, const Credentials& credentials, const SigningScope& scope);

}  // namespace caddis::store
