#include "store/sigv4.h"

#include <fmt/core.h>

#include <algorithm>

namespace caddis::store {
namespace {

bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

// Without blanks at the ends, runs of blanks as one.
std::string trimmed(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += c;
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

NameValues sorted(NameValues pairs) {
  std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return pairs;
}

std::string signed_names(const NameValues& headers) {
  std::string out;
  for (const auto& [name, value] : headers) out += (out.empty() ? "" : ";") + name;
  return out;
}

std::string scope_text(const SigningScope& scope) {
  return fmt::format("{}/{}/{}/aws4_request", scope.amz_date.substr(0, 8), scope.region, scope.service);
}

}  // namespace

std::string uri_encode(std::string_view text, bool keep_slash) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (is_unreserved(c) || (c == '/' && keep_slash))
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string canonical_query(const NameValues& query) {
  NameValues encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string canonical_request(const SigningRequest& request) {
  NameValues headers = sorted(request.headers);
  std::string out = request.method + "\n" + request.path + "\n" + canonical_query(request.query) + "\n";
  for (const auto& [name, value] : headers) out += name + ":" + trimmed(value) + "\n";
  return out + "\n" + signed_names(headers) + "\n" + request.payload_sha256_hex;
}

Sha256 signing_key(std::string_view secret, const SigningScope& scope) {
  std::string start = "AWS4" + std::string(secret);
  Sha256 key = hmac_sha256(as_bytes(start), as_bytes(std::string_view(scope.amz_date).substr(0, 8)));
  for (std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service), std::string_view("aws4_request")})
    key = hmac_sha256(key, as_bytes(part));
  return key;
}

std::string authorization(const SigningRequest& request, const Credentials& credentials, const SigningScope& scope) {
  std::string hash = to_hex(sha256(as_bytes(canonical_request(request))));
  std::string to_sign = fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", scope.amz_date, scope_text(scope), hash);
  std::string signature = to_hex(hmac_sha256(signing_key(credentials.secret_access_key, scope), as_bytes(to_sign)));
  return fmt::format("AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}", credentials.access_key_id,
                     scope_text(scope), signed_names(sorted(request.headers)), signature);
}

}  // namespace caddis::store
