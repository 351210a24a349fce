#include "ltx/v3_encoder.h"

#include <lz4.h>

#include <array>

#include "base/check.h"
#include "ltx/v3_format.h"

namespace caddis::ltx {

V3Encoder::V3Encoder(const Header& header, Sink sink)
    : header_(header), out_(std::move(sink)), order_(header, ErrorCode::kInvalid) {}

Status V3Encoder::begin() {
  if (begun_) return {};
  TRY(validate(header_, Version::kV3));
  begun_ = true;
  block_.resize(detail::block_bound(header_.page_size_bytes));
  return write(encode_header(header_));
}

Status V3Encoder::write(ByteView data) {
  crc_.update(data);
  return out_.write(data);
}

Status V3Encoder::add_page(Pgno pgno, ByteView data) {
  TRY(begin());
  if (data.size() != header_.page_size_bytes) {
    return invalid("ltx page {}: {} bytes, the page size is {}", pgno, data.size(), header_.page_size_bytes);
  }
  TRY(order_.check(pgno));
  int size = LZ4_compress_default(reinterpret_cast<const char*>(data.data()), reinterpret_cast<char*>(block_.data()),
                                  static_cast<int>(data.size()), static_cast<int>(block_.size()));
  CHECK(size > 0);  // the buffer has the size of the bound
  std::array<std::uint8_t, detail::kPageHeaderSizeBytes + detail::kBlockSizeFieldBytes> head;
  put_be32(head.data(), pgno.value());
  put_be16(head.data() + 4, detail::kPageFlagSize);
  put_be32(head.data() + 6, static_cast<std::uint32_t>(size));
  auto block = ByteView(block_).first(static_cast<std::size_t>(size));
  detail::append_index_entry(index_, pgno.value(), out_.size_bytes(), head.size() + block.size());
  TRY(write(head));
  crc_.update(data);  // the file checksum covers the page, not its compressed form
  return out_.write(block);
}

Status V3Encoder::finish(Checksum post_apply) {
  TRY(begin());
  if (!header_.tracks_checksums()) {
    std::optional<Cds1> cds1 = header_.cds1();
    if (cds1 && post_apply != Checksum() && cds1->post_apply != post_apply) {
      return invalid("ltx: CDS1 promised post-apply checksum {}, it is {}", cds1->post_apply, post_apply);
    }
    post_apply = Checksum();
  }
  TRY(validate_post_apply(header_, post_apply));
  TRY(order_.finish());
  TRY(write(std::array<std::uint8_t, detail::kPageHeaderSizeBytes>{}));
  index_.push_back(0);
  TRY(write(index_));
  std::array<std::uint8_t, detail::kIndexSizeFieldBytes> index_size;
  put_be64(index_size.data(), index_.size());
  TRY(write(index_size));
  trailer_.post_apply = post_apply;
  crc_.update(ByteView(encode_trailer(trailer_)).first(8));
  trailer_.file = Checksum(crc_.value() | Checksum::kFlag);
  TRY(out_.write(encode_trailer(trailer_)));
  return out_.flush();
}

}  // namespace caddis::ltx
