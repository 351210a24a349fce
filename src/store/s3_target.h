// What an s3:// URL means: bucket, prefix, where its server is and how that server wants to be asked. Pure.
//   s3://BUCKET/PREFIX?endpoint=URL&region=R&…   Litestream's query keys, in camelCase or kebab-case
//   s3://BUCKET.s3.REGION.amazonaws.com/PREFIX   and the same of DigitalOcean, Backblaze, Filebase, Scaleway
//   s3://BUCKET.HOST:PORT/PREFIX
// Provider table (by the endpoint's host; source: Litestream s3/replica_client.go):
//   fly.storage.tigris.dev, t3.storage.dev   region auto, X-Tigris-Consistent: true, no Content-MD5
//   *.r2.cloudflarestorage.com               region auto
//   *.amazonaws.com                          the bucket in the host name (path style when it contains a dot)
//   everything else                          path style, region from the host name where it is there, else us-east-1
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace caddis::store {

inline constexpr std::uint64_t kMinPartBytes = 5u << 20;  // S3's own limit for all parts but the last

struct S3Target {
  std::string bucket;
  std::string prefix;  // without slashes at its ends; may be empty
  std::string region;
  bool tls = true;
  std::string host;  // of the server, without the bucket; IPv6 without brackets
  std::uint16_t port = 443;
  bool path_style = true;
  bool sign_payload = true;  // false: UNSIGNED-PAYLOAD
  bool content_md5 = true;   // on DeleteObjects
  bool tigris_consistent = false;
  std::uint64_t part_size_bytes = kMinPartBytes;
  std::string storage_class;  // empty: the bucket's

  std::string url() const;                                 // "s3://bucket/prefix", for people
  std::string endpoint() const;                            // "https://host:port", for people
  std::string connect_host() const;                        // with the bucket unless path_style
  std::string authority() const;                           // the Host header
  std::string object_key(std::string_view key) const;      // with the prefix
  std::string list_prefix(std::string_view prefix) const;  // "" at the top of a bucket without prefix
  // The encoded request path; full_key with prefix, or empty for the bucket.
  std::string path_of(std::string_view full_key) const;
};

// endpoint and region are used where the URL says nothing; either may be empty. kInvalid: the value, why, the cure.
Result<S3Target> parse_s3_target(std::string_view url, std::string_view endpoint, std::string_view region);

}  // namespace caddis::store
