#include "store/s3_client.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <random>

#include "store/times.h"

namespace caddis::store {
namespace {

constexpr std::size_t kMaxDocument = 16u << 20;  // a list page of 1000 keys has some 400 KiB
constexpr std::size_t kMaxErrorDocument = 64u << 10;
constexpr std::size_t kHashOnLoop = 64u << 10;  // larger bodies are hashed on the pool
constexpr std::int64_t kLastWaitMs = 5'000;
constexpr std::int64_t kMaxRetryAfterMs = 10'000;
constexpr char kUnsigned[] = "UNSIGNED-PAYLOAD";

bool is_transport_retryable(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout || code == ErrorCode::kCorrupt ||
         code == ErrorCode::kIo || code == ErrorCode::kCancelled;
}

// Milliseconds the server asked to wait, 0 when it did not.
std::int64_t retry_after_ms(const http::Headers& headers) {
  std::string_view text = headers.get("Retry-After");
  std::int64_t seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || seconds < 0) return 0;
  return std::min(seconds, kMaxRetryAfterMs / 1000) * 1000;
}

}  // namespace

// What one attempt brought. Exactly one of transport, failure (status != 0) and success.
struct S3Client::Outcome {
  std::optional<Error> transport;
  S3Failure failure;
  std::int64_t wait_ms = 0;
  S3Answer answer;
  std::unique_ptr<http::BodyReader> reader;
  bool again() const { return transport ? is_transport_retryable(transport->code()) : is_retryable(failure); }
  bool ok() const { return !transport && failure.status == 0; }
};

S3Client::S3Client(loop::Loop& loop, S3Target target, Credentials credentials, const TargetOptions& options)
    : loop_(loop),
      target_(std::move(target)),
      credentials_(std::move(credentials)),
      max_attempts_(std::max(1, options.max_attempts)),
      timeout_ms_(options.request_timeout_ms),
      retry_wait_ms_(std::max<std::int64_t>(1, options.retry_wait_ms)),
      count_(options.metrics),
      http_(loop,
            http::ClientOptions{.tls = {.ssl_cert_file = options.ssl_cert_file, .ssl_cert_dir = options.ssl_cert_dir},
                                .max_idle_per_host = 16}) {}

Task<S3Client::Prepared> S3Client::prepare(S3Call call) {
  Prepared p{.call = std::move(call), .payload_hash = {}};
  std::shared_ptr<const Bytes> body = p.call.body;
  if (!target_.sign_payload && body) {
    p.payload_hash = kUnsigned;
  } else if (!body || body->size() <= kHashOnLoop) {
    p.payload_hash = to_hex(sha256(body ? ByteView(*body) : ByteView()));
  } else {
    auto work = [body] { return to_hex(sha256(*body)); };
    p.payload_hash = co_await loop::offload(loop_, work);
  }
  co_return p;
}

http::ClientRequest S3Client::sign(const Prepared& p) const {
  SigningScope scope{.amz_date = amz_date(clock_.wall_ms()), .region = target_.region};
  SigningRequest r{.method = p.call.method,
                   .path = target_.path_of(p.call.full_key),
                   .query = p.call.query,
                   .headers = p.call.headers,
                   .payload_sha256_hex = p.payload_hash};
  r.headers.emplace_back("host", target_.authority());
  r.headers.emplace_back("x-amz-content-sha256", p.payload_hash);
  r.headers.emplace_back("x-amz-date", scope.amz_date);
  if (!credentials_.session_token.empty()) r.headers.emplace_back("x-amz-security-token", credentials_.session_token);
  if (target_.tigris_consistent) r.headers.emplace_back("x-tigris-consistent", "true");

  http::ClientRequest out;
  out.method = p.call.method;
  std::string query = canonical_query(r.query);
  out.url = fmt::format("{}://{}{}{}{}", target_.tls ? "https" : "http", target_.authority(), r.path,
                        query.empty() ? "" : "?", query);
  for (const auto& [name, value] : r.headers) out.headers.add(name, value);
  out.headers.add("authorization", authorization(r, credentials_, scope));
  if (std::shared_ptr<const Bytes> body = p.call.body) {
    out.source_size = body->size();
    out.source = [body](std::uint64_t offset, ByteSpan piece) -> Task<Result<std::size_t>> {
      std::size_t n = std::min<std::size_t>(piece.size(), body->size() - static_cast<std::size_t>(offset));
      std::memcpy(piece.data(), body->data() + offset, n);
      co_return n;
    };
  }
  out.connect_timeout_ms = std::min<std::int64_t>(timeout_ms_, 10'000);
  out.timeout_ms = 0;  // however long it takes, as long as bytes flow
  out.idle_timeout_ms = timeout_ms_;
  out.body_limit = kMaxDocument;
  out.repeatable = p.call.repeatable;
  return out;
}

Task<S3Client::Outcome> S3Client::attempt(const Prepared& p, bool whole, std::stop_token stop) {
  Outcome o;
  Result<std::unique_ptr<http::BodyReader>> reader = co_await http_.open(sign(p), stop);
  if (!reader) {
    count_.add(p.call.op, error_code_name(reader.error().code()));
    o.transport = std::move(reader).error();
    co_return o;
  }
  o.answer.status = (*reader)->status();
  o.answer.headers = (*reader)->headers();
  count_.add(p.call.op, std::to_string(o.answer.status));
  bool success = o.answer.status >= 200 && o.answer.status < 300;
  if (success && !whole) {
    o.reader = std::move(*reader);
    co_return o;
  }
  std::size_t limit = success ? kMaxDocument : kMaxErrorDocument;
  Bytes piece(16 * 1024);
  for (;;) {
    Result<std::size_t> n = co_await (*reader)->read(piece, stop);
    if (!n && !success) break;  // the status says enough
    if (!n) {
      o.transport = std::move(n).error();
      co_return o;
    }
    if (*n == 0) break;
    if (o.answer.body.size() + *n > limit) {
      if (!success) break;
      o.transport = Error(ErrorCode::kNoSpace, fmt::format("the answer is larger than {} bytes", limit));
      co_return o;
    }
    append(o.answer.body, ByteView(piece).first(*n));
  }
  std::optional<S3ErrorBody> body = parse_s3_error(as_text(o.answer.body));
  if (success && !body) co_return o;
  o.failure.status = o.answer.status;
  o.failure.region = o.answer.headers.get("x-amz-bucket-region");
  o.wait_ms = retry_after_ms(o.answer.headers);
  if (body) {
    o.failure.code = body->code;
    o.failure.message = body->message;
    if (!body->region.empty()) o.failure.region = body->region;
  }
  co_return o;
}

Task<void> S3Client::back_off(int attempt, std::int64_t at_least_ms, std::stop_token stop) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  std::int64_t longest = std::min(retry_wait_ms_ << std::min(attempt - 1, 10), kLastWaitMs);
  std::int64_t wait = std::uniform_int_distribution<std::int64_t>(longest / 2, longest)(random);
  (void)co_await loop::sleep(loop_, std::max(wait, at_least_ms), stop);
}

Task<S3Result<S3Client::Outcome>> S3Client::repeat(S3Call call, bool whole, std::stop_token stop) {
  std::string what = call.what;
  if (stop.stop_requested())
    co_return std::unexpected(S3CallError{Error(ErrorCode::kCancelled, what + ": stopped"), {}, false});
  Prepared prepared = co_await prepare(std::move(call));
  std::optional<S3CallError> last;
  bool maybe_done = false;
  for (int n = 1;; ++n) {
    Outcome o = co_await attempt(prepared, whole, stop);
    if (o.ok()) {
      o.answer.repeated = maybe_done;
      co_return o;
    }
    // A stop hides nothing: what failed before it is the better answer.
    if (o.transport && stop.stop_requested() && last) co_return std::unexpected(std::move(*last));
    Error error = o.transport ? std::move(*o.transport).context(fmt::format("{} at {}", what, target_.endpoint()))
                              : s3_error(target_, what, o.failure);
    bool again = o.again() && n < max_attempts_ && !stop.stop_requested();
    if (!again && n > 1) error = Error(error.code(), fmt::format("{} (attempt {})", error.message(), n));
    if (error.code() == ErrorCode::kCancelled && !stop.stop_requested())
      error = Error(ErrorCode::kUnavailable, error.message());
    last = S3CallError{std::move(error), o.failure, maybe_done};
    if (!again) co_return std::unexpected(std::move(*last));
    maybe_done = maybe_done || o.transport || o.failure.status >= 500 || o.failure.status == 200;
    co_await back_off(n, o.wait_ms, stop);
    if (stop.stop_requested()) co_return std::unexpected(std::move(*last));
  }
}

Task<S3Result<S3Answer>> S3Client::fetch(S3Call call, std::stop_token stop) {
  S3Result<Outcome> o = co_await repeat(std::move(call), true, std::move(stop));
  if (!o) co_return std::unexpected(std::move(o).error());
  co_return std::move(o->answer);
}

Task<S3Result<std::unique_ptr<http::BodyReader>>> S3Client::open(S3Call call, std::stop_token stop) {
  S3Result<Outcome> o = co_await repeat(std::move(call), false, std::move(stop));
  if (!o) co_return std::unexpected(std::move(o).error());
  co_return std::move(o->reader);
}

}  // namespace caddis::store
