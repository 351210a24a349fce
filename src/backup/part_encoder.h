// An LTX v3 object made piece by piece, for what is too large for memory: a snapshot, or one giant transaction.
// Blocking (pool threads), one call at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "ltx/stream.h"

namespace caddis::backup {

class PartEncoder {
 public:
  // The next page, or nullopt at the end; the data stays valid until the next call.
  using NextPage = std::function<Result<std::optional<ltx::Page>>()>;
  // `post_apply`: the database checksum after the object; becomes its CDS1 proof.
  PartEncoder(const ltx::Header& header, Checksum post_apply, std::uint64_t epoch, NextPage next);
  // At least `min_bytes` of the object, less at its end (then done() is true).
  Result<Bytes> next_part(std::size_t min_bytes);
  bool done() const { return done_; }
  std::uint64_t size_bytes() const { return encoder_->size_bytes(); }
  const ltx::Header& header() const { return header_; }

 private:
  ltx::Header header_;
  Checksum post_apply_;
  NextPage next_;
  Bytes part_;
  std::unique_ptr<ltx::Encoder> encoder_;
  bool done_ = false;
};

}  // namespace caddis::backup
