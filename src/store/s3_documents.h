// The XML documents of S3: what is asked for and what comes back. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace caddis::store {

struct ListPage {
  std::vector<ObjectInfo> objects;    // full keys, as the bucket has them
  std::vector<std::string> prefixes;  // of a delimited list: "a/b/"
  std::string next_token;             // not empty: there is more
};
// ListObjectsV2. kCorrupt: no ListBucketResult, a missing field, or "truncated" without a token.
Result<ListPage> parse_list(std::string_view document);

struct S3ErrorBody {
  std::string code;     // "NoSuchKey"
  std::string message;  // of the server, one line of at most 200 bytes
  std::string region;   // the right one, when the answer says it
};
// nullopt when the document is no S3 error (an empty body, a proxy's HTML).
std::optional<S3ErrorBody> parse_s3_error(std::string_view document);

Result<std::string> parse_upload_id(std::string_view document);  // CreateMultipartUpload
// CompleteMultipartUpload: the etag. A 200 may carry an error: see parse_s3_error first.
Result<std::string> parse_complete(std::string_view document);

struct UploadedPart {
  int number = 0;  // from 1
  std::string etag;
};
std::string complete_document(const std::vector<UploadedPart>& parts);

std::string delete_document(const std::vector<std::string>& keys);
struct DeleteFailure {
  std::string key, code, message;
};
// DeleteObjects in quiet mode: the keys that are still there.
Result<std::vector<DeleteFailure>> parse_delete(std::string_view document);

}  // namespace caddis::store
