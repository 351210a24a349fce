// Reads LTX v3, the form of Litestream 0.5: pages as LZ4 blocks (0.5.16 on) or as LZ4 frames (0.5.0 - 0.5.15), decided
// page by page. See PageSource for the order of calls.
#pragma once

#include <optional>

#include "ltx/buffers.h"
#include "ltx/checksum.h"
#include "ltx/crc64.h"
#include "ltx/page_order.h"
#include "ltx/stream.h"

namespace caddis::ltx {

// Errors of every call: kCorrupt for bytes that break the format at any place, else what the source returned.
// Besides the file checksum the page index is compared with the frames, and a snapshot's pages with the database
// checksum in the trailer, or in CDS1 when the trailer has none.
class V3Decoder : public PageSource {
 public:
  explicit V3Decoder(Source source) : in_(std::move(source)), frame_(in_) {}
  Result<Header> header() override;
  Result<std::optional<Page>> next() override;
  Trailer trailer() const override { return trailer_; }

 private:
  Result<std::optional<Page>> read_next();
  Status read(ByteSpan out, const char* what);
  Status read_payload(Pgno pgno, std::uint16_t flags);
  Status read_index();
  Status read_end();

  detail::InBuffer in_;
  detail::FrameReader frame_;
  std::optional<Result<Header>> header_;
  std::optional<PageOrder> order_;
  Crc64 crc_;
  RollingChecksum database_;  // of a snapshot's pages
  Crc64 index_crc_;           // of the index as it must be, so that its size costs no memory
  std::uint64_t index_size_ = 0;
  Trailer trailer_;
  Bytes block_;
  Bytes page_;
  Bytes entry_;
  bool ended_ = false;
  std::optional<Error> failed_;
};

}  // namespace caddis::ltx
