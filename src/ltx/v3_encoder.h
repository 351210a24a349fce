// Writes LTX v3, the form of Litestream 0.5.16 (ltx 0.5.2): every page one LZ4 block, a page index, the trailer.
#pragma once

#include "ltx/buffers.h"
#include "ltx/crc64.h"
#include "ltx/page_order.h"
#include "ltx/stream.h"

namespace caddis::ltx {

// Memory: 64 KiB and about 10 bytes a page for the index.
class V3Encoder : public Encoder {
 public:
  // header.flags: 0 or kFlagNoChecksum; the header may carry CDS1.
  V3Encoder(const Header& header, Sink sink);
  Status add_page(Pgno pgno, ByteView data) override;
  Status finish(Checksum post_apply) override;
  Trailer trailer() const override { return trailer_; }
  std::uint64_t size_bytes() const override { return out_.size_bytes(); }

 private:
  Status begin();
  Status write(ByteView data);  // covered by the file checksum as it is

  Header header_;
  detail::OutBuffer out_;
  PageOrder order_;
  Crc64 crc_;
  Bytes block_;
  Bytes index_;
  Trailer trailer_;
  bool begun_ = false;
};

}  // namespace caddis::ltx
