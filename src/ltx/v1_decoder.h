// Reads LTX v1, the form of LiteFS 0.5. See PageSource for the order of calls.
#pragma once

#include <optional>

#include "ltx/buffers.h"
#include "ltx/checksum.h"
#include "ltx/crc64.h"
#include "ltx/page_order.h"
#include "ltx/stream.h"

namespace caddis::ltx {

// Errors of every call: kCorrupt for bytes that break the format at any place, else what the source returned.
class V1Decoder : public PageSource {
 public:
  explicit V1Decoder(Source source) : in_(std::move(source)), frame_(in_) {}
  Result<Header> header() override;
  Result<std::optional<Page>> next() override;
  Trailer trailer() const override { return trailer_; }

 private:
  Result<std::optional<Page>> read_next();
  Status read_block(ByteSpan out, const char* what);
  Status read_end();

  detail::InBuffer in_;
  detail::FrameReader frame_;
  std::optional<Result<Header>> header_;
  std::optional<PageOrder> order_;
  Crc64 crc_;
  RollingChecksum database_;  // of a snapshot's pages
  Trailer trailer_;
  Bytes page_;
  bool ended_ = false;
  std::optional<Error> failed_;
};

}  // namespace caddis::ltx
