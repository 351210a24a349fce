// Writes LTX v1, the form of LiteFS 0.5: header, pages (raw, or one LZ4 frame over all of them with kFlagLz4), trailer.
#pragma once

#include <optional>

#include "ltx/buffers.h"
#include "ltx/crc64.h"
#include "ltx/page_order.h"
#include "ltx/stream.h"

namespace caddis::ltx {

class V1Encoder : public Encoder {
 public:
  // header.flags: 0 or kFlagLz4.
  V1Encoder(const Header& header, Sink sink);
  Status add_page(Pgno pgno, ByteView data) override;
  Status finish(Checksum post_apply) override;
  Trailer trailer() const override { return trailer_; }
  std::uint64_t size_bytes() const override { return out_.size_bytes(); }

 private:
  Status begin();
  Status write_block(ByteView data);
  bool compressed() const { return (header_.flags & kFlagLz4) != 0; }

  Header header_;
  detail::OutBuffer out_;
  detail::FrameWriter frame_;
  PageOrder order_;
  Crc64 crc_;
  Trailer trailer_;
  bool begun_ = false;
};

}  // namespace caddis::ltx
