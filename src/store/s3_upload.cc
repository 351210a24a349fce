#include "store/s3_upload.h"

#include "store/times.h"

namespace caddis::store {
namespace {

constexpr std::size_t kMaxParts = 10'000;

Task<void> abort_in_background(std::shared_ptr<S3Client> client, S3Call call) {
  (void)co_await client->fetch(std::move(call), {});
}

}  // namespace

NameValues object_headers(const S3Target& target, const PutOptions& options) {
  NameValues out = {{"content-type", "application/octet-stream"}};
  for (const auto& [name, value] : options.metadata) out.emplace_back("x-amz-meta-" + name, value);
  if (options.timestamp_ms != 0)
    out.emplace_back("x-amz-meta-litestream-timestamp", rfc3339_nano(options.timestamp_ms));
  if (!target.storage_class.empty()) out.emplace_back("x-amz-storage-class", target.storage_class);
  return out;
}

NameValues condition_headers(const PutOptions& options) {
  NameValues out;
  if (options.if_none_match) out.emplace_back("if-none-match", "*");
  if (!options.if_match.empty()) out.emplace_back("if-match", options.if_match);
  return out;
}

namespace {
// With if_match an absent object is a failed condition, whatever the server calls it.
Error put_error(S3CallError failed, const PutOptions& options) {
  if (!options.if_match.empty() && failed.error.code() == ErrorCode::kNotFound)
    return Error(ErrorCode::kConflict, failed.error.message() + ": the object is gone");
  return std::move(failed.error);
}
}  // namespace

Task<Result<std::string>> put_object(S3Client& client, std::string full_key, std::string what,
                                     std::shared_ptr<const Bytes> body, PutOptions options, std::stop_token stop) {
  S3Call call{.op = "put", .what = std::move(what), .method = "PUT", .full_key = std::move(full_key)};
  call.headers = object_headers(client.target(), options);
  for (auto& header : condition_headers(options)) call.headers.push_back(std::move(header));
  call.body = std::move(body);
  S3Result<S3Answer> answer = co_await client.fetch(std::move(call), stop);
  if (!answer) co_return put_error(std::move(answer).error(), options);
  co_return std::string(answer->headers.get("ETag"));
}

S3Upload::~S3Upload() {
  if (is_open()) loop::spawn(abort_in_background(client_, call("abort_upload", "DELETE", {{"uploadId", upload_id_}})));
}

S3Call S3Upload::call(std::string op, std::string method, NameValues query) const {
  return {.op = std::move(op),
          .what = what_,
          .method = std::move(method),
          .full_key = full_key_,
          .query = std::move(query)};
}

Task<Status> S3Upload::begin(std::stop_token stop) {
  S3Call c = call("create_upload", "POST", {{"uploads", ""}});
  c.headers = object_headers(client_->target(), options_);
  S3Result<S3Answer> answer = co_await client_->fetch(std::move(c), stop);
  if (!answer) co_return std::move(answer).error().error;
  Result<std::string> id = parse_upload_id(as_text(answer->body));
  if (!id) co_return std::move(id).error().context(what_);
  upload_id_ = std::move(*id);
  co_return Status{};
}

Task<Status> S3Upload::send_part(Bytes part, std::stop_token stop) {
  if (parts_.size() >= kMaxParts)
    co_return Error(ErrorCode::kInvalid, fmt::format("{}: more than {} parts of {} bytes: set partSize in the URL",
                                                     what_, kMaxParts, client_->target().part_size_bytes));
  if (!is_open()) CO_TRY(co_await begin(stop));
  int number = static_cast<int>(parts_.size()) + 1;
  S3Call c = call("upload_part", "PUT", {{"partNumber", std::to_string(number)}, {"uploadId", upload_id_}});
  std::uint64_t size = part.size();
  c.body = std::make_shared<const Bytes>(std::move(part));
  S3Result<S3Answer> answer = co_await client_->fetch(std::move(c), stop);
  if (!answer) co_return std::move(answer).error().error;
  std::string etag(answer->headers.get("ETag"));
  if (etag.empty()) co_return Error(ErrorCode::kCorrupt, fmt::format("{}: part {} got no ETag", what_, number));
  parts_.push_back({number, std::move(etag)});
  sent_bytes_ += size;
  co_return Status{};
}

Task<Status> S3Upload::write(Bytes part, std::stop_token stop) {
  if (buffer_.empty())
    buffer_ = std::move(part);
  else
    append(buffer_, part);
  std::size_t size = client_->target().part_size_bytes;
  // The last part stays here: only finish() knows that it is the last.
  while (buffer_.size() > size) {
    Bytes piece(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    CO_TRY(co_await send_part(std::move(piece), stop));
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
  }
  co_return Status{};
}

Task<Result<std::string>> S3Upload::finish(std::stop_token stop) {
  if (!is_open() && !maybe_completed_) {
    auto body = std::make_shared<const Bytes>(buffer_);
    co_return co_await put_object(*client_, full_key_, what_, std::move(body), options_, stop);
  }
  if (!buffer_.empty()) {
    CO_TRY(co_await send_part(buffer_, stop));
    buffer_.clear();
  }
  co_return co_await complete(stop);
}

Task<Result<std::string>> S3Upload::complete(std::stop_token stop) {
  S3Call c = call("complete_upload", "POST", {{"uploadId", upload_id_}});
  c.headers = condition_headers(options_);
  c.headers.emplace_back("content-type", "application/xml");
  std::string document = complete_document(parts_);
  c.body = std::make_shared<const Bytes>(document.begin(), document.end());
  c.repeatable = false;
  S3Result<S3Answer> answer = co_await client_->fetch(std::move(c), stop);
  if (answer) {
    Result<std::string> etag = parse_complete(as_text(answer->body));
    if (!etag) co_return std::move(etag).error().context(what_);
    upload_id_.clear();
    co_return etag;
  }
  S3CallError& failed = answer.error();
  bool gone = failed.failure.code == "NoSuchUpload" || (failed.failure.status == 404 && failed.failure.code.empty());
  if (gone && (failed.repeated || maybe_completed_)) co_return co_await completed_before(std::move(failed), stop);
  maybe_completed_ = maybe_completed_ || failed.repeated || failed.failure.status == 0 || failed.failure.status >= 500;
  co_return put_error(std::move(failed), options_);
}

// The upload is gone after an attempt to complete it whose answer was lost: the object may be there, from us.
Task<Result<std::string>> S3Upload::completed_before(S3CallError why, std::stop_token stop) {
  S3Result<S3Answer> head = co_await client_->fetch(call("head", "HEAD", {}), stop);
  if (!head) co_return std::move(why.error);
  upload_id_.clear();
  bool same_size = head->headers.get("Content-Length") == std::to_string(sent_bytes_);
  if (same_size && !options_.if_none_match) co_return std::string(head->headers.get("ETag"));
  co_return Error(ErrorCode::kConflict,
                  what_ + ": an object is there already, perhaps from this upload, whose answer was lost");
}

Task<Status> S3Upload::abort(std::stop_token stop) {
  buffer_.clear();
  if (!is_open()) co_return Status{};
  S3Call c = call("abort_upload", "DELETE", {{"uploadId", upload_id_}});
  upload_id_.clear();
  S3Result<S3Answer> answer = co_await client_->fetch(std::move(c), stop);
  if (!answer && answer.error().failure.status != 404) co_return std::move(answer).error().error;
  co_return Status{};
}

}  // namespace caddis::store
