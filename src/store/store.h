// Objects by key, in a directory or in an S3 bucket. One Store is one target URL; keys are relative to its path and use
// "/" as separator. Everything runs on the loop thread and takes values; a Store outlives its tasks, readers and
// uploads.
//
// Errors, the same for every kind of store (switch on the code; the text names target, key, cause and cure, and never a
// credential or a query string):
//   kNotFound     this key is not there; the target itself answers
//   kConflict     a condition of PutOptions did not hold (HTTP 412); or an object changed while it was being read
//   kBusy         somebody else writes this key at this moment, also after retries
//   kDenied       wrong or missing credentials, no permission
//   kUnavailable  the target did not answer or is not there: connection, 5xx, no such bucket, no parent directory
//   kInvalid      the request can't succeed as it is: bad key, bad URL, other region
//   kCorrupt      an answer that breaks its format
//   kCancelled    a stop was requested before any attempt had failed; otherwise the last failure is returned
// S3 requests are repeated with back-off (TargetOptions::max_attempts) on 408, 429, 5xx, 409 and broken connections.
// A put whose answer was lost is repeated too: with if_none_match or if_match it then can end with kConflict although
// the stored object is ours, so compare before you believe in another writer.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/metrics.h"
#include "base/result.h"
#include "loop/loop.h"
#include "loop/task.h"

namespace caddis::store {

using loop::Task;

struct ObjectInfo {
  std::string key;
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ms = 0;  // wall clock; S3: time of the upload; file: mtime, which is PutOptions::timestamp_ms
  std::string etag;              // opaque; for PutOptions::if_match
};

struct ObjectHead {
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ms = 0;
  std::int64_t timestamp_ms = 0;  // PutOptions::timestamp_ms; modified_ms where the object says none
  std::string etag;
  std::vector<std::pair<std::string, std::string>> metadata;  // names in lower case; always empty for files
};

struct PutOptions {
  bool if_none_match = false;  // only when the key is absent, else kConflict
  std::string if_match;        // only when the object still has this etag, else kConflict (also when it is gone)
  // User metadata, without "x-amz-meta-"; not kept by the file store.
  std::vector<std::pair<std::string, std::string>> metadata;
  // Not 0: metadata "litestream-timestamp", and the mtime of a file.
  std::int64_t timestamp_ms = 0;
};

class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  // Up to out.size() bytes, 0 only at the end. A broken connection is resumed where it broke.
  virtual Task<Result<std::size_t>> read(ByteSpan out, std::stop_token stop) = 0;
  virtual std::uint64_t total_bytes() const = 0;  // what read() gives in all
};

// Nothing is visible before finish(). Destroyed or aborted without it, nothing stays (the abort of a destroyed S3
// upload runs on the loop, best effort). One call at a time.
class Upload {
 public:
  virtual ~Upload() = default;
  virtual Task<Status> write(Bytes part, std::stop_token stop) = 0;    // any size
  virtual Task<Result<std::string>> finish(std::stop_token stop) = 0;  // the etag; may be repeated after an error
  virtual Task<Status> abort(std::stop_token stop) = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // All objects whose key begins with prefix, sorted by key (bytes). Empty: the target answered "nothing there" (for
  // files: the directory is absent and its parent is not).
  virtual Task<Result<std::vector<ObjectInfo>>> list(std::string prefix, std::stop_token stop) = 0;
  // Names of the "directories" right below prefix ("" or "a/b/") that hold an object; sorted, without "/".
  virtual Task<Result<std::vector<std::string>>> list_dirs(std::string prefix, std::stop_token stop) = 0;
  // length 0: to the end. Fewer bytes at the end of the object, none beyond it.
  virtual Task<Result<Bytes>> get(std::string key, std::uint64_t offset, std::uint64_t length,
                                  std::stop_token stop) = 0;
  virtual Task<Result<std::unique_ptr<ObjectReader>>> open(std::string key, std::uint64_t offset, std::uint64_t length,
                                                           std::stop_token stop) = 0;
  virtual Task<Result<ObjectHead>> head(std::string key, std::stop_token stop) = 0;
  // Atomic and durable. Returns the etag. The body is shared, so that one buffer can go to several targets.
  virtual Task<Result<std::string>> put(std::string key, std::shared_ptr<const Bytes> body, PutOptions options,
                                        std::stop_token stop) = 0;
  Task<Result<std::string>> put(std::string key, Bytes body, PutOptions options, std::stop_token stop) {
    return put(std::move(key), std::make_shared<const Bytes>(std::move(body)), std::move(options), std::move(stop));
  }
  virtual Task<Result<std::unique_ptr<Upload>>> start_upload(std::string key, PutOptions options,
                                                             std::stop_token stop) = 0;
  // Absent keys are fine.
  virtual Task<Status> remove(std::vector<std::string> keys, std::stop_token stop) = 0;

  virtual const std::string& describe() const = 0;  // the URL without query and credentials: "s3://bucket/prefix"
  // Where Litestream keeps a level of database `db`: S3 "NAME/0009/", file "NAME/ltx/9/". An empty db is a URL that
  // names one database: "0009/", "ltx/9/".
  virtual std::string level_prefix(std::string_view db, int level) const = 0;
};

struct TargetOptions {
  std::string url;  // s3://BUCKET/PREFIX[?endpoint=…&region=…&forcePathStyle=…] or file:///PATH
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::string access_key_id_file;  // win over the values above; one line; others must not be able to write them
  std::string secret_access_key_file;
  std::string endpoint;  // the URL's own query wins over these two
  std::string region;
  std::string ssl_cert_file;                 // PEM roots; SSL_CERT_FILE
  std::string ssl_cert_dir;                  // SSL_CERT_DIR; neither: the system's roots
  std::int64_t request_timeout_ms = 30'000;  // without progress
  std::int64_t retry_wait_ms = 200;          // before the second attempt, then doubled up to 5 s, with jitter
  int max_attempts = 4;                      // of one request
  Metrics* metrics = nullptr;                // caddis_backup_requests_total{op,code}; outlives the store
};

// Blocking (reads the credential files). Asks nobody yet. Errors: kInvalid, kDenied; they name the value and its cure.
Result<std::unique_ptr<Store>> open_store(loop::Loop& loop, const TargetOptions& options);

}  // namespace caddis::store
