// One object, or a range of it, as a stream that survives broken connections. Loop thread.
#pragma once

#include <memory>
#include <string>

#include "store/s3_client.h"

namespace caddis::store {

class S3Reader final : public ObjectReader {
 public:
  // Sends the first request. length 0: to the end.
  static Task<Result<std::unique_ptr<S3Reader>>> start(std::shared_ptr<S3Client> client, std::string full_key,
                                                       std::string what, std::uint64_t offset, std::uint64_t length,
                                                       std::stop_token stop);
  Task<Result<std::size_t>> read(ByteSpan out, std::stop_token stop) override;
  std::uint64_t total_bytes() const override { return total_; }

 private:
  S3Reader(std::shared_ptr<S3Client> client, std::string full_key, std::string what, std::uint64_t offset)
      : client_(std::move(client)), full_key_(std::move(full_key)), what_(std::move(what)), at_(offset) {}
  // Asks for `length` bytes from at_ on (0: to the end).
  Task<Result<void>> request(std::uint64_t length, std::stop_token stop);

  std::shared_ptr<S3Client> client_;
  std::string full_key_;
  std::string what_;
  std::uint64_t at_;
  std::uint64_t rest_ = 0;
  std::uint64_t total_ = 0;
  std::string etag_;  // of the first answer: a resumed read never continues in another object
  std::unique_ptr<http::BodyReader> body_;
  int failures_ = 0;  // since bytes came
};

}  // namespace caddis::store
