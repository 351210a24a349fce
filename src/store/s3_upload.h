// An object sent in parts: S3's multipart upload, or one PUT when all of it fits into one part. Loop thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/s3_client.h"

namespace caddis::store {

// Headers of a PUT or a multipart upload that describe the object (metadata, type, class), and its conditions.
NameValues object_headers(const S3Target& target, const PutOptions& options);
NameValues condition_headers(const PutOptions& options);
// Sends it with one request. The etag.
Task<Result<std::string>> put_object(S3Client& client, std::string full_key, std::string what,
                                     std::shared_ptr<const Bytes> body, PutOptions options, std::stop_token stop);

class S3Upload final : public Upload {
 public:
  S3Upload(std::shared_ptr<S3Client> client, std::string full_key, std::string what, PutOptions options)
      : client_(std::move(client)),
        full_key_(std::move(full_key)),
        what_(std::move(what)),
        options_(std::move(options)) {}
  ~S3Upload() override;  // aborts on the loop what was neither finished nor aborted
  Task<Status> write(Bytes part, std::stop_token stop) override;
  Task<Result<std::string>> finish(std::stop_token stop) override;
  Task<Status> abort(std::stop_token stop) override;

 private:
  S3Call call(std::string op, std::string method, NameValues query) const;
  Task<Status> begin(std::stop_token stop);
  Task<Status> send_part(Bytes part, std::stop_token stop);
  Task<Result<std::string>> complete(std::stop_token stop);
  Task<Result<std::string>> completed_before(S3CallError why, std::stop_token stop);
  bool is_open() const { return !upload_id_.empty(); }

  std::shared_ptr<S3Client> client_;
  std::string full_key_;
  std::string what_;
  PutOptions options_;
  Bytes buffer_;
  std::string upload_id_;
  std::vector<UploadedPart> parts_;
  std::uint64_t sent_bytes_ = 0;
  bool maybe_completed_ = false;  // a request to complete it went out and was not answered
};

}  // namespace caddis::store
