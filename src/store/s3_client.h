// Signed requests to one bucket, repeated until they succeed, fail for good or the attempts are used up. Loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "http/client.h"
#include "loop/loop.h"
#include "store/request_count.h"
#include "store/s3_documents.h"
#include "store/s3_error.h"
#include "store/s3_target.h"
#include "store/sigv4.h"
#include "store/store.h"

namespace caddis::store {

struct S3Call {
  std::string op;    // label of the metric: "put"
  std::string what;  // the intention, for errors: "put s3://bkt/p/key"
  std::string method;
  std::string full_key;  // with the prefix; empty: the bucket
  NameValues query;
  NameValues headers;                 // lower-case names
  std::shared_ptr<const Bytes> body;  // nullptr: none
  bool repeatable = true;             // may go over a kept connection (see http::ClientRequest)
};

struct S3Answer {
  int status = 0;
  http::Headers headers;
  Bytes body;
  bool repeated = false;  // an earlier attempt may have taken effect although its answer was lost
};

// A failed call, with what the caller may want to decide on.
struct S3CallError {
  Error error;
  S3Failure failure;      // status 0: no answer
  bool repeated = false;  // as in S3Answer
};
template <class T>
using S3Result = std::expected<T, S3CallError>;

class S3Client {
 public:
  S3Client(loop::Loop& loop, S3Target target, Credentials credentials, const TargetOptions& options);

  // The whole answer, of status 2xx. A document <Error> under status 200 is a failure too.
  Task<S3Result<S3Answer>> fetch(S3Call call, std::stop_token stop);
  // The answer's head, of status 2xx; its body is the caller's to read and is not repeated.
  Task<S3Result<std::unique_ptr<http::BodyReader>>> open(S3Call call, std::stop_token stop);

  // Waits before attempt number attempt + 1. attempt counts from 1. Ends early when stop is requested.
  Task<void> back_off(int attempt, std::int64_t at_least_ms, std::stop_token stop);

  const S3Target& target() const { return target_; }
  loop::Loop& loop() const { return loop_; }
  int max_attempts() const { return max_attempts_; }

 private:
  struct Prepared {
    S3Call call;
    std::string payload_hash;
  };
  struct Outcome;
  Task<Prepared> prepare(S3Call call);
  http::ClientRequest sign(const Prepared& prepared) const;
  Task<Outcome> attempt(const Prepared& prepared, bool whole, std::stop_token stop);
  Task<S3Result<Outcome>> repeat(S3Call call, bool whole, std::stop_token stop);

  loop::Loop& loop_;
  S3Target target_;
  Credentials credentials_;
  int max_attempts_;
  std::int64_t timeout_ms_;
  std::int64_t retry_wait_ms_;
  RequestCount count_;
  http::Client http_;
  SystemClock clock_;
};

}  // namespace caddis::store
