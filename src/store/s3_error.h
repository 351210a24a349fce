// What an answer of an S3 server that is not a success means: again, or an error with cause and cure. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "store/s3_target.h"

namespace caddis::store {

struct S3Failure {
  int status = 0;       // HTTP; 200 when a success document carried an error
  std::string code;     // "NoSuchBucket"; empty when the answer had no S3 error document
  std::string message;  // the server's words
  std::string region;   // where the bucket is, when the server says so (x-amz-bucket-region, <Region>)
};

// 408, 409 of a race, 429, 5xx but 501 and 505, and the codes servers use for the same with another status.
bool is_retryable(const S3Failure& failure);

// "list s3://bkt/p/ at https://host: HTTP 403 AccessDenied: CAUSE: CURE". `what` is the intention with the object:
// "get s3://bkt/p/key". Contains the server's words, never a header, a query or a credential.
Error s3_error(const S3Target& target, std::string_view what, const S3Failure& failure);

}  // namespace caddis::store
