#include "ltx/v3_decoder.h"

#include <lz4.h>

#include <algorithm>
#include <array>

#include "ltx/page_index.h"
#include "ltx/v3_format.h"

namespace caddis::ltx {

Result<Header> V3Decoder::header() {
  if (header_) return *header_;
  HeaderBytes bytes;
  Status s = in_.read(bytes, "header");
  header_ = s ? decode_header(bytes, Version::kV3) : std::unexpected(s.error());
  if (!*header_) return *header_;
  crc_.update(bytes);
  order_.emplace(**header_, ErrorCode::kCorrupt);
  page_.resize((*header_)->page_size_bytes);
  block_.resize(detail::block_bound((*header_)->page_size_bytes));
  return *header_;
}

Status V3Decoder::read(ByteSpan out, const char* what) {
  TRY(in_.read(out, what));
  crc_.update(out);
  return {};
}

Result<std::optional<Page>> V3Decoder::next() {
  if (failed_) return std::unexpected(*failed_);
  if (ended_) return std::nullopt;
  Result<std::optional<Page>> page = read_next();
  if (!page) failed_ = page.error();
  return page;
}

Result<std::optional<Page>> V3Decoder::read_next() {
  TRY_ASSIGN(Header head, header());
  std::uint64_t offset = in_.offset();
  std::array<std::uint8_t, detail::kPageHeaderSizeBytes> page_header;
  TRY(read(page_header, "page block"));
  Pgno pgno(get_be32(page_header.data()));
  std::uint16_t flags = get_be16(page_header.data() + 4);
  if (pgno == Pgno(0)) {
    if (flags != 0) return corrupt("ltx: page flags {:#x} on the end mark at byte {}", flags, offset);
    TRY(read_end());
    ended_ = true;
    return std::nullopt;
  }
  TRY(order_->check(pgno));
  TRY(read_payload(pgno, flags));
  crc_.update(page_);
  entry_.clear();
  detail::append_index_entry(entry_, pgno.value(), offset, in_.offset() - offset);
  index_crc_.update(entry_);
  index_size_ += entry_.size();
  if (head.is_snapshot()) database_.add(page_checksum(pgno, page_));
  return Page{pgno, page_};
}

Status V3Decoder::read_payload(Pgno pgno, std::uint16_t flags) {
  if (flags == 0) {
    TRY(frame_.begin());
    TRY(frame_.read(page_, "page"));
    return frame_.finish();
  }
  if (flags != detail::kPageFlagSize) return corrupt("ltx page {}: flags {:#x}, known is 0x1", pgno, flags);
  std::array<std::uint8_t, detail::kBlockSizeFieldBytes> field;
  TRY(read(field, "page block"));
  std::uint32_t size = get_be32(field.data());
  if (size == 0 || size > block_.size()) {
    return corrupt("ltx page {}: compressed size {}, a page of {} has 1 to {}", pgno, size, page_.size(),
                   block_.size());
  }
  auto block = ByteSpan(block_).first(size);
  TRY(in_.read(block, "page"));
  return decompress_block(pgno, block, page_);
}

// The index must be exactly what the frames make it, so its length is known and nothing in it is believed.
Status V3Decoder::read_index() {
  index_crc_.update(std::array<std::uint8_t, 1>{});
  ++index_size_;
  Crc64 stored;
  for (std::uint64_t left = index_size_; left > 0;) {
    auto piece = ByteSpan(block_).first(std::min<std::uint64_t>(left, block_.size()));
    TRY(read(piece, "page index"));
    stored.update(piece);
    left -= piece.size();
  }
  std::array<std::uint8_t, detail::kIndexSizeFieldBytes> field;
  TRY(read(field, "page index"));
  std::uint64_t size = get_be64(field.data());
  if (size != index_size_) return corrupt("ltx: page index of {} bytes, the pages make {}", size, index_size_);
  if (stored.value() != index_crc_.value()) return corrupt("ltx: the page index does not match the pages");
  return {};
}

Status V3Decoder::read_end() {
  const Header& head = **header_;
  TRY(order_->finish());
  TRY(read_index());
  TrailerBytes bytes;
  TRY(in_.read(bytes, "trailer"));
  TRY_ASSIGN(trailer_, decode_trailer(bytes, head));
  TRY(in_.expect_end());
  crc_.update(ByteView(bytes).first(8));
  Checksum computed(crc_.value() | Checksum::kFlag);
  if (computed != trailer_.file) return corrupt("ltx: file checksum {}, computed {}", trailer_.file, computed);
  if (!head.is_snapshot()) return {};
  Checksum promised = trailer_.post_apply;
  if (!head.tracks_checksums()) promised = head.cds1().value_or(Cds1{}).post_apply;
  if (promised != Checksum() && database_.value() != promised) {
    return corrupt("ltx: snapshot says database checksum {}, its pages give {}", promised, database_.value());
  }
  return {};
}

}  // namespace caddis::ltx
