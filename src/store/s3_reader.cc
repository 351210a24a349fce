#include "store/s3_reader.h"

#include <algorithm>
#include <charconv>

namespace caddis::store {
namespace {

// "bytes 5-9/10" begins at 5; nullopt when it is no such text.
std::optional<std::uint64_t> range_begin(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  std::uint64_t begin = 0;
  auto [end, error] = std::from_chars(text.data() + 6, text.data() + text.size(), begin);
  if (error != std::errc() || end == text.data() + text.size() || *end != '-') return std::nullopt;
  return begin;
}

}  // namespace

Task<Result<void>> S3Reader::request(std::uint64_t length, std::stop_token stop) {
  S3Call call{.op = "get", .what = what_, .method = "GET", .full_key = full_key_};
  bool ranged = at_ > 0 || length > 0;
  if (ranged)
    call.headers.emplace_back(
        "range", length == 0 ? fmt::format("bytes={}-", at_) : fmt::format("bytes={}-{}", at_, at_ + length - 1));
  if (!etag_.empty()) call.headers.emplace_back("if-match", etag_);
  S3Result<std::unique_ptr<http::BodyReader>> opened = co_await client_->open(std::move(call), stop);
  if (!opened) {
    if (opened.error().failure.status == 416 && etag_.empty()) {  // begins at or beyond the object's end
      body_.reset();
      co_return Result<void>{};
    }
    co_return std::move(opened).error().error;
  }
  std::unique_ptr<http::BodyReader> body = std::move(*opened);
  std::string etag(body->headers().get("ETag"));
  if (!etag_.empty() && etag != etag_)
    co_return Error(ErrorCode::kConflict, what_ + ": the object was replaced while it was being read");
  // Some servers (rclone) answer a range with 200 and a Content-Range.
  std::string_view range = body->headers().get("Content-Range");
  bool partial = body->status() == 206 || !range.empty();
  if (partial && range_begin(range) != at_)
    co_return Error(ErrorCode::kCorrupt,
                    fmt::format("{}: asked for the bytes from {}, the answer has \"{}\"", what_, at_, range));
  if (!partial && at_ > 0)
    co_return Error(ErrorCode::kCorrupt, what_ + ": the server ignores ranges: it can't hold backups");
  std::optional<std::uint64_t> size = body->content_length();
  if (!size) co_return Error(ErrorCode::kCorrupt, what_ + ": the answer does not say its length");
  if (total_ == 0 && etag_.empty()) {
    total_ = rest_ = length == 0 ? *size : std::min(length, *size);
    etag_ = etag;
  } else if (*size < rest_) {
    co_return Error(ErrorCode::kCorrupt, fmt::format("{}: {} bytes are left, the answer has {}", what_, rest_, *size));
  }
  body_ = std::move(body);
  co_return Result<void>{};
}

Task<Result<std::unique_ptr<S3Reader>>> S3Reader::start(std::shared_ptr<S3Client> client, std::string full_key,
                                                        std::string what, std::uint64_t offset, std::uint64_t length,
                                                        std::stop_token stop) {
  std::unique_ptr<S3Reader> reader(new S3Reader(std::move(client), std::move(full_key), std::move(what), offset));
  CO_TRY(co_await reader->request(length, stop));
  co_return reader;
}

Task<Result<std::size_t>> S3Reader::read(ByteSpan out, std::stop_token stop) {
  out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), rest_)));
  if (out.empty()) co_return std::size_t{0};
  for (;;) {
    if (!body_) CO_TRY(co_await request(rest_, stop));
    if (!body_) co_return Error(ErrorCode::kCorrupt, what_ + ": the object became shorter while it was being read");
    Result<std::size_t> n = co_await body_->read(out, stop);
    if (n && *n > 0) {
      at_ += *n;
      rest_ -= *n;
      failures_ = 0;
      if (rest_ == 0) body_.reset();
      co_return n;
    }
    body_.reset();
    Error error = n ? Error(ErrorCode::kUnavailable, fmt::format("the answer ended {} bytes early", rest_))
                    : std::move(n).error();
    error = std::move(error).context(fmt::format("{} at {}", what_, client_->target().endpoint()));
    if (stop.stop_requested() || ++failures_ >= client_->max_attempts()) co_return error;
    co_await client_->back_off(failures_, 0, stop);
  }
}

}  // namespace caddis::store
