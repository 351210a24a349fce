#include "ltx/v1_decoder.h"

#include <array>

namespace caddis::ltx {

Result<Header> V1Decoder::header() {
  if (header_) return *header_;
  HeaderBytes bytes;
  Status s = in_.read(bytes, "header");
  header_ = s ? decode_header(bytes, Version::kV1) : std::unexpected(s.error());
  if (!*header_) return *header_;
  crc_.update(bytes);
  order_.emplace(**header_, ErrorCode::kCorrupt);
  page_.resize((*header_)->page_size_bytes);
  return *header_;
}

Status V1Decoder::read_block(ByteSpan out, const char* what) {
  bool compressed = ((*header_)->flags & kFlagLz4) != 0;
  TRY(compressed ? frame_.read(out, what) : in_.read(out, what));
  crc_.update(out);
  return {};
}

Result<std::optional<Page>> V1Decoder::next() {
  if (failed_) return std::unexpected(*failed_);
  if (ended_) return std::nullopt;
  Result<std::optional<Page>> page = read_next();
  if (!page) failed_ = page.error();
  return page;
}

Result<std::optional<Page>> V1Decoder::read_next() {
  TRY_ASSIGN(Header head, header());
  if (in_.offset() == kHeaderSizeBytes && (head.flags & kFlagLz4) != 0) TRY(frame_.begin());
  std::array<std::uint8_t, 4> number;
  TRY(read_block(number, "page block"));
  Pgno pgno(get_be32(number.data()));
  if (pgno == Pgno(0)) {
    TRY(read_end());
    ended_ = true;
    return std::nullopt;
  }
  TRY(order_->check(pgno));
  TRY(read_block(page_, "page block"));
  if (head.is_snapshot()) database_.add(page_checksum(pgno, page_));
  return Page{pgno, page_};
}

// Terminating page number read; the rest of the LZ4 frame, the trailer, and the proof.
Status V1Decoder::read_end() {
  const Header& head = **header_;
  if ((head.flags & kFlagLz4) != 0) TRY(frame_.finish());
  TRY(order_->finish());
  TrailerBytes bytes;
  TRY(in_.read(bytes, "trailer"));
  TRY_ASSIGN(trailer_, decode_trailer(bytes, head));
  TRY(in_.expect_end());
  crc_.update(ByteView(bytes).first(8));
  Checksum computed(crc_.value() | Checksum::kFlag);
  if (computed != trailer_.file) return corrupt("ltx: file checksum {}, computed {}", trailer_.file, computed);
  if (head.is_snapshot() && database_.value() != trailer_.post_apply) {
    return corrupt("ltx: snapshot says database checksum {}, its pages give {}", trailer_.post_apply,
                   database_.value());
  }
  return {};
}

}  // namespace caddis::ltx
